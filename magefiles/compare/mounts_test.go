//go:build linux

package compare_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"fuseless/guest/mounts"
	"fuseless/guest/proc"
	"fuseless/magefiles/compare"
	"fuseless/magefiles/nasty"
)

const passphrase = "correct horse battery staple\n"

func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("no FUSE: %v", err)
	}
}

// scratch is a folder for trees that t.TempDir alone cannot remove. What is mounted
// in it is unmounted first: cleanups run backwards.
func scratch(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		if err := nasty.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func run(t *testing.T, argv ...string) {
	t.Helper()
	if err := proc.Run(t.Context(), proc.Cmd{Argv: argv, Secrets: [][]byte{[]byte(passphrase)}}); err != nil {
		t.Fatal(err)
	}
}

func snapshot(t *testing.T, dir string) compare.Tree {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tree, err := compare.Local(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func mountForward(t *testing.T, vault, view string) {
	t.Helper()
	mount(t, view, nil, nil, "gocryptfs", "-ro", "-fg", "-q", "-passfile", "/dev/fd/3", vault, view)
}

// mountSSHFS mounts dir with sshfs and a real sftp-server at the other ends of
// its standard input and output.
func mountSSHFS(t *testing.T, dir, mnt string) {
	t.Helper()
	need(t, "sshfs")
	const server = "/usr/lib/openssh/sftp-server"
	if _, err := os.Stat(server); err != nil {
		t.Skipf("no sftp-server: %v", err)
	}
	toServer, fromSSHFS, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	toSSHFS, fromServer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := proc.Start(context.Background(), proc.Cmd{Argv: []string{server}, Stdin: toServer, Stdout: fromServer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Wait() }) // ends when sshfs closes its ends
	mount(t, mnt, toSSHFS, fromSSHFS, "sshfs", "-f", "-o", "passive,ro", "remote:"+dir, mnt)
	for _, f := range []*os.File{toServer, fromSSHFS, toSSHFS, fromServer} {
		f.Close()
	}
}

// mount starts a FUSE program in the foreground and waits for its mount. It is
// unmounted at the end of the test, or by what mount returns.
func mount(t *testing.T, mnt string, stdin, stdout *os.File, argv ...string) (unmount func()) {
	t.Helper()
	if err := os.MkdirAll(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := proc.Cmd{Argv: argv, Secrets: [][]byte{[]byte(passphrase)}}
	if stdin != nil {
		cmd.Stdin, cmd.Stdout = stdin, stdout
	}
	p, err := proc.Start(context.Background(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	done := false
	unmount = func() {
		if done {
			return
		}
		done = true
		if busy, err := mounts.Unmount(context.Background(), mnt, time.Minute); err != nil || busy {
			t.Errorf("%s: unmount: busy: %v, %v", argv[0], busy, err)
			_ = p.Process.Kill()
		}
		<-ended
	}
	if err := waitMounted(mnt, ended); err != nil {
		_ = p.Process.Kill()
		t.Fatalf("%s: %v", argv[0], err)
	}
	t.Cleanup(unmount)
	return unmount
}

// waitMounted waits until there is a mount at mnt. The kernel reports a change
// of the mount table as an exceptional condition (proc_pid_mountinfo(5)).
func waitMounted(mnt string, ended chan error) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if ok, err := mountinfo.Mounted(mnt); ok || err != nil {
			return err
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("ended without a mount: %w", err)
		default:
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}, 200)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return errors.New("no mount after 30 s")
}

// mountDavfs mounts url with the one configuration of davfs2 that works.
func mountDavfs(t *testing.T, url, mnt string) {
	t.Helper()
	need(t, "mount.davfs")
	if os.Geteuid() != 0 {
		t.Skip("mount.davfs needs root")
	}
	dir, err := os.MkdirTemp("/dev/shm", "davfs2")
	if err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	secrets, conf, cache := dir+"/secrets", dir+"/conf", dir+"/cache"
	settings := []string{
		"ask_auth 0", "secrets " + secrets, "buf_size 256", "delay_upload 0", "use_locks 1", "backup_dir .davfs2-lost+found", "cache_dir " + cache,
	}
	// Started by root, mount.davfs reads its files as root, and accepts the cache
	// folder only if it is root's with the group davfs2, whose user it becomes.
	davfs2, err := user.LookupGroup("davfs2")
	if err != nil {
		t.Skip(err)
	}
	gid, _ := strconv.Atoi(davfs2.Gid)
	for _, err := range []error{
		os.MkdirAll(mnt, 0o700), os.Mkdir(cache, 0o700),
		os.Chmod(dir, 0o711), os.Chown(cache, 0, gid), os.Chmod(cache, 0o770),
		os.WriteFile(secrets, []byte(url+" user secret\n"), 0o600),
		os.WriteFile(conf, []byte(strings.Join(settings, "\n")+"\n"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	run(t, "mount.davfs", "-o", "ro,conf="+conf, url, mnt)
	t.Cleanup(func() {
		if busy, err := mounts.Unmount(context.Background(), mnt, time.Minute); err != nil || busy {
			t.Errorf("unmount: busy: %v, %v", busy, err)
		}
	})
}
