//go:build linux

package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/magefiles/netlab"
)

// linkLab is a lab whose remote is OpenSSH behind an emulated link.
type linkLab struct {
	*lab
	net  *netlab.Lab
	sshd *exec.Cmd
	goOn func() // lets what hangs on the far side go on
}

// broadband is what a link is like unless a test says otherwise.
var broadband = netlab.Link{RTT: 40 * time.Millisecond, Rate: 50_000_000}

// swift is for what only has to be done.
var swift = netlab.Link{}

func newLinkLab(t *testing.T) *linkLab {
	t.Helper()
	t.Parallel()
	if err := netlab.Supported(); err != nil {
		t.Skip(err)
	}
	const program, sftpServer = "/usr/sbin/sshd", "/usr/lib/openssh/sftp-server"
	for _, p := range []string{program, sftpServer} {
		if _, err := os.Stat(p); err != nil {
			t.Skip(p, " is not installed")
		}
	}
	l := &linkLab{lab: emptyLab(t)}
	sshdFolder(t)
	n, err := netlab.New(context.Background(), swift)
	must(t, err)
	l.net = n
	l.stop = func() {
		if t.Failed() && l.goOn != nil {
			l.goOn()
		}
		l.killSSHD()
		must(t, n.Close())
	}
	c := exec.Command("true")
	n.InGuest(c)
	l.before = c.Args[:len(c.Args)-1]
	l.before[0] = c.Path

	must(t, os.Mkdir(l.path("sshd"), 0o700))
	for _, key := range []string{"host", "key"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", l.file(key)).CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
	}
	hostKey, err := os.ReadFile(l.file("host.pub"))
	must(t, err)
	public, err := os.ReadFile(l.file("key.pub"))
	must(t, err)
	must(t, os.WriteFile(l.file("authorized_keys"), public, 0o600))
	must(t, os.WriteFile(l.file("known_hosts"), fmt.Appendf(nil, "[%s]:2222 %s", n.RemoteAddr(), hostKey), 0o600))
	must(t, os.WriteFile(l.file("forced"), fmt.Appendf(nil, "#!/bin/sh\ncd %q && eval \"exec $SSH_ORIGINAL_COMMAND\"\n", l.remote), 0o700))
	must(t, os.WriteFile(l.file("sshd_config"), fmt.Appendf(nil, `ListenAddress %s
Port 2222
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp %s
ForceCommand %s
`, n.RemoteAddr(), l.file("host"), l.file("authorized_keys"), sftpServer, l.file("forced")), 0o600))
	must(t, os.WriteFile(l.file("config"), fmt.Appendf(nil, `Host box
  HostName %s
  Port 2222
  User root
  IdentityFile %s
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile %s
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
`, n.RemoteAddr(), l.file("key"), l.file("known_hosts")), 0o600))
	l.startSSHD()
	l.ssh, l.alias = l.file("config"), "box"
	l.configure()
	return l
}

func (l *linkLab) file(name string) string { return l.path("sshd/" + name) }

func (l *linkLab) startSSHD() {
	l.t.Helper()
	l.sshd = exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", l.file("sshd_config"))
	l.net.InRemote(l.sshd)
	must(l.t, l.sshd.Start())
	l.hidden = append(l.hidden, l.sshd.Process.Pid)
	eventually(l.t, "sshd listens", func() bool {
		conn, err := l.net.DialRemote(context.Background(), l.net.RemoteAddr()+":2222")
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// killSSHD ends the server with all its sessions, as a reboot does.
func (l *linkLab) killSSHD() {
	if l.sshd == nil {
		return
	}
	for _, pid := range append(descendants(l.sshd.Process.Pid), l.sshd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = l.sshd.Wait()
	l.sshd = nil
}

// hung stops the far side's processes of a name, and returns what lets them go on.
func (l *linkLab) hung(name string) (goOn func()) {
	l.t.Helper()
	var pids []int
	eventually(l.t, name+" runs on the remote", func() bool {
		for _, pid := range descendants(l.sshd.Process.Pid) {
			if isProgram(pid, name) {
				pids = append(pids, pid)
			}
		}
		return len(pids) > 0
	})
	for _, pid := range pids {
		must(l.t, syscall.Kill(pid, syscall.SIGSTOP))
	}
	return func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		eventually(l.t, name+" has ended", func() bool {
			return !slices.ContainsFunc(pids, func(pid int) bool { return isProgram(pid, name) })
		})
	}
}

// text is what a run has said so far.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// underWay is a run that goes on beside the test.
type underWay struct {
	l     *linkLab
	cmd   *exec.Cmd
	said  *text
	begun int64 // bytes that had gone over the link
	end   chan error
}

func (l *linkLab) begin(args ...string) *underWay {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	l.t.Cleanup(cancel)
	u := &underWay{l, l.command(ctx, args...), &text{}, l.net.Sent().ToRemote, make(chan error, 1)}
	u.cmd.Stderr, u.cmd.Stdout = u.said, u.said
	must(l.t, u.cmd.Start())
	go func() { u.end <- u.cmd.Wait() }()
	return u
}

// until waits for something in a run that must not end before.
func (u *underWay) until(what string, is func() bool) {
	u.l.t.Helper()
	for end := time.Now().Add(patience); !is(); {
		select {
		case err := <-u.end:
			u.l.t.Fatalf("it ended before %s: %v\n%s", what, err, u.said)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			u.l.t.Fatalf("in vain waited until %s:\n%s", what, u.said)
		}
	}
}

func (u *underWay) says(s string) {
	u.l.t.Helper()
	u.until("it says "+s, func() bool { return strings.Contains(u.said.String(), s) })
}

// sent waits until so many bytes went to the remote.
func (u *underWay) sent(n int64) {
	u.l.t.Helper()
	u.until("enough is sent", func() bool { return u.l.net.Sent().ToRemote-u.begun > n })
}

// ends waits for the end, and returns how many bytes went to the remote.
func (u *underWay) ends(want proto.Code) int64 {
	u.l.t.Helper()
	if code := exitCode(u.l.t, <-u.end); code != want {
		u.l.t.Fatalf("want %d (%s), got %d:\n%s", want, want, code, u.said)
	}
	return u.l.net.Sent().ToRemote - u.begun
}

// large writes a file that cannot be compressed or guessed.
func (l *linkLab) large(name string, size int) {
	l.t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(data)
	l.write(name, string(data))
}

const large = 64 << 20

// sentOnce fails if more went over the link than a file of that size needs: 4 %
// are headers of IP, TCP and ssh, and 2 MiB are for the rest, checksums above all.
func (l *linkLab) sentOnce(n int64, size int) {
	l.t.Helper()
	l.t.Logf("%d bytes over the link for %d", n, size)
	if most := int64(size) + int64(size)*6/100 + 2<<20; n > most {
		l.t.Errorf("%d bytes over the link, and no more than %d were needed", n, most)
	}
}

// untilQuiet ends what is left on the remote of a broken try, and waits for it.
// By itself it ends only by its --timeout, of some minutes; it may touch the
// dates of folders then, which the next backup puts right, but no file.
func (l *linkLab) untilQuiet() {
	l.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		left := slices.DeleteFunc(descendants(l.sshd.Process.Pid), func(pid int) bool { return !isProgram(pid, "rsync") })
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("an rsync of a broken try does not end: %d", left)
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestLinkBreaks: a backup over a link that breaks goes on where it was.
func TestLinkBreaks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		broken bool // the run notices; else it may
		cut    func(l *linkLab) (mend func())
	}{
		{"cut for 10 s", false, func(l *linkLab) func() {
			l.net.Cut()
			time.Sleep(10 * time.Second) // the outage itself
			return l.net.Restore
		}},
		{"cut for 120 s", true, func(l *linkLab) func() {
			l.net.Cut()
			time.Sleep(120 * time.Second)
			return l.net.Restore
		}},
		{"rsync hangs", true, func(l *linkLab) func() { l.goOn = l.hung("rsync"); return func() {} }},
		{"sshd restarted", true, func(l *linkLab) func() { l.killSSHD(); return l.startSSHD }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLinkLab(t)
			l.fill()
			l.ok("init")
			l.ok("backup")
			l.large("large", large)
			l.net.SetLink(broadband)
			b := l.begin("backup")
			b.sent(24 << 20)
			mend := c.cut(l)
			if c.broken && c.name != "cut for 120 s" {
				b.says("trying again in ")
			}
			mend()
			l.sentOnce(b.ends(proto.OK), large)
			if said := b.said.String(); c.broken && !strings.Contains(said, "trying again in ") {
				t.Errorf("it did not notice:\n%s", said)
			}
			if r := l.last(); (r.Breaks == 0) && c.broken || r.UserFiles != 1 || r.Deleted != 0 {
				t.Errorf("the account: %+v", r)
			}
			l.net.SetLink(swift)
			if l.goOn != nil {
				l.goOn() // that late
			}
			l.untilQuiet()
			l.ok("backup")
			l.nothingSent()
			l.sameAsSource()
			for _, p := range filesBelow(l.vault) {
				if n := filepath.Base(p); strings.HasPrefix(n, ".") && !strings.HasPrefix(n, ".fuseless-partial") {
					t.Errorf("in the vault is %s", p)
				}
			}
		})
	}
}

// TestLinkGone: where the link does not come back, the run says what it does,
// and Ctrl-C ends it.
func TestLinkGone(t *testing.T) {
	l := newLinkLab(t)
	l.fill()
	l.ok("init")
	l.ok("backup")
	l.large("large", large)
	l.net.SetLink(broadband)
	b := l.begin("backup")
	b.sent(4 << 20)
	l.net.Cut()
	b.says("trying again in 1 s (Ctrl-C ends the run")
	b.says("trying again in 2 s (Ctrl-C ends the run")
	must(t, b.cmd.Process.Signal(syscall.SIGINT))
	b.ends(proto.Interrupted)
	if left := lasting(l.left); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	// Now it is unreachable from the beginning, which is an error at once.
	l.refused(proto.Remote, []string{"backup"}, "cannot be reached")
	l.net.Restore()
	l.net.SetLink(swift)
	l.untilQuiet()
	l.ok("backup")
	l.sameAsSource()
}

// TestLinkBreaksWhileReplacing: what the first try replaced is in the trash,
// whole, also when it changes again before the second; and what no retry can
// mend ends the run.
func TestLinkBreaksWhileReplacing(t *testing.T) {
	l := newLinkLab(t)
	l.fill()
	l.ok("init")
	l.ok("backup")
	old := contents(t, l.vault)
	for i := range 30 {
		l.write(fmt.Sprintf("folder %d/file %d", i%3, i), fmt.Sprintf("this is the second version of file %d\n", i))
	}
	l.large("zz/large", large/4)
	l.net.SetLink(broadband)
	b := l.begin("backup")
	b.sent(4 << 20)
	l.killSSHD()
	b.says("trying again in ")
	for i := range 30 {
		l.write(fmt.Sprintf("folder %d/file %d", i%3, i), fmt.Sprintf("this is the third and last version of file %d\n", i))
	}
	l.remove("folder 1/file 4")
	l.startSSHD()
	b.ends(proto.OK)
	l.net.SetLink(swift)
	// Sorted: a run's first folder is before those of its later passes.
	runs, err := filepath.Glob(filepath.Join(l.trash, "*"))
	must(t, err)
	if len(runs) < 2 {
		t.Errorf("in the trash: %q", runs)
	}
	replaced := 0
	for p, text := range old {
		if gocryptfs.Virtual(p) {
			continue
		}
		for _, run := range runs {
			if b, err := os.ReadFile(filepath.Join(run, p)); err == nil {
				if replaced++; string(b) != text {
					t.Errorf("%s has not what the last backup had as %s", run, p)
				}
				break
			}
		}
	}
	if replaced != 30 {
		t.Errorf("%d of 30 files that were replaced or deleted are in the trash", replaced)
	}
	l.sameAsSource()

	l.large("large too", large/4)
	l.net.SetLink(broadband)
	b = l.begin("backup")
	b.sent(4 << 20)
	l.killSSHD()
	must(t, os.Rename(l.file("authorized_keys"), l.file("no keys")))
	b.says("trying again in ")
	l.startSSHD()
	b.ends(proto.Remote)
	if !strings.Contains(b.said.String(), "does not accept a key") {
		t.Errorf("it says %s", b.said)
	}
	must(t, os.Rename(l.file("no keys"), l.file("authorized_keys")))
	l.net.SetLink(swift)
	l.ok("backup")
	l.sameAsSource()
}

// contents are the regular files below dir.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, p := range filesBelow(dir) {
		if fi, err := os.Lstat(p); err == nil && fi.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			must(t, err)
			rel, _ := filepath.Rel(dir, p)
			m[rel] = string(b)
		}
	}
	return m
}

// TestServerHangsWhileDeleting: moving to the trash goes on with another
// sftp-server, and what the hung one does later does no harm.
func TestServerHangsWhileDeleting(t *testing.T) {
	l := newLinkLab(t)
	l.fill()
	for i := range 300 {
		l.write(fmt.Sprintf("many/%d", i), "one of many")
	}
	l.ok("init")
	l.ok("backup")
	old := contents(t, l.vault)
	l.remove("many")
	l.write("many/once more", "the folder stays")
	l.net.SetLink(netlab.Link{RTT: 200 * time.Millisecond})
	b := l.begin("backup", "-allowDelete")
	b.says("moving deleted files to the trash")
	b.until("some are moved", func() bool { return len(l.inTrash()) > 20 })
	goOn := l.hung("sftp-server")
	b.says("the remote has not answered for 60 s; trying again in ")
	l.net.SetLink(swift)
	b.ends(proto.OK)
	goOn()
	if r := l.last(); r.Deleted != 300 || r.Breaks != 1 {
		t.Errorf("the account: %+v", r)
	}
	now := contents(t, l.vault)
	trash := ""
	if all, err := filepath.Glob(filepath.Join(l.trash, "*Z")); err == nil && len(all) == 1 {
		trash = all[0]
	}
	kept := contents(t, trash)
	for p, text := range old {
		if now[p] != text && kept[p] != text {
			t.Errorf("%s is neither in the vault nor in the trash", p)
		}
	}
	l.sameAsSource()
}

// TestLinkBreaksWhileFetching: so does a restore.
func TestLinkBreaksWhileFetching(t *testing.T) {
	l := newLinkLab(t)
	l.fill()
	l.large("large", large/4)
	l.ok("init")
	l.ok("backup")
	l.net.SetLink(broadband)
	came := l.net.Sent().ToGuest
	to := l.path("restored")
	r := l.begin("restore", "-to="+to)
	r.until("some has come", func() bool { return l.net.Sent().ToGuest-came > 4<<20 })
	l.killSSHD()
	r.says("trying again in ")
	l.startSSHD()
	r.ends(proto.OK)
	l.sentOnce(l.net.Sent().ToGuest-came, large/4)
	l.judge(snapshot(t, l.source), snapshot(t, to), "forward")
}

// TestPoorLink: slow and lossy links are no reason to try again.
func TestPoorLink(t *testing.T) {
	t.Parallel()
	for name, link := range map[string]netlab.Link{
		"lossy": {RTT: 40 * time.Millisecond, Rate: 50_000_000, Loss: 0.01},
		"slow":  {RTT: 40 * time.Millisecond, Rate: 1_000_000},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLinkLab(t)
			l.fill()
			l.large("large", 1<<20)
			l.ok("init")
			l.net.SetLink(link)
			l.ok("backup")
			l.net.SetLink(swift)
			if r := l.last(); r.Breaks != 0 {
				t.Errorf("the account: %+v", r)
			}
			l.sameAsSource()
		})
	}
}
