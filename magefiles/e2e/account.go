//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"
)

// account is the ordinary user who types everything. Root makes one, because
// limactl refuses root; anybody else is it, with another home folder.
type account struct {
	name, home string
	uid, gid   int
	made       bool // by us, and to be removed
}

func newAccount(ctx context.Context) (*account, error) {
	if os.Geteuid() != 0 {
		// Not below the cache: the paths of sockets in it are bounded.
		home, err := os.MkdirTemp("/var/tmp", "fle2e-")
		if err != nil {
			return nil, proto.Errorf(proto.NoSpace, "make a home folder: %w", err)
		}
		u, err := user.Current()
		if err != nil {
			return nil, err
		}
		return &account{name: u.Username, home: home, uid: os.Getuid(), gid: os.Getgid()}, nil
	}
	a := &account{name: fmt.Sprintf("fle2e%d", os.Getpid()), made: true}
	a.home = filepath.Join("/home", a.name)
	empty, err := os.MkdirTemp("", "fle2e-skel-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(empty)
	argv := []string{"useradd", "--create-home", "--home-dir", a.home, "--skel", empty, "--shell", "/bin/bash"}
	if _, err := user.LookupGroup("kvm"); err == nil {
		argv = append(argv, "--groups", "kvm")
	}
	if err := sbin(ctx, append(argv, a.name)...); err != nil {
		return nil, fmt.Errorf("make a user: %w", err)
	}
	u, err := user.Lookup(a.name)
	if err != nil {
		return a, err
	}
	a.uid, _ = strconv.Atoi(u.Uid)
	a.gid, _ = strconv.Atoi(u.Gid)
	// For davfs2, as the README has it.
	err = os.WriteFile(a.sudoers(), []byte(a.name+" ALL=(ALL) NOPASSWD:ALL\n"), 0o440)
	return a, err
}

// sbin runs a program that may lie where only root has a PATH.
func sbin(ctx context.Context, argv ...string) error {
	argv, err := privilege.AsRoot(argv)
	if err != nil {
		return err
	}
	return proc.Run(ctx, proc.Cmd{Argv: argv})
}

func (a *account) sudoers() string { return filepath.Join("/etc/sudoers.d", a.name) }

// remove removes the user with the home folder. Nothing of the user's may run
// or be mounted any more.
func (a *account) remove(ctx context.Context) error {
	if !a.made {
		return os.RemoveAll(a.home)
	}
	if err := os.Remove(a.sudoers()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return sbin(ctx, "userdel", "--remove", a.name)
}

// argv is the command line that runs argv as the user, with nothing of our
// environment but the way to the package archive, and env.
func (a *account) argv(env []string, argv ...string) []string {
	var out []string
	if a.made {
		out = append(out, "setpriv", "--reuid="+strconv.Itoa(a.uid), "--regid="+strconv.Itoa(a.gid), "--init-groups")
	}
	// Nor with the signals that we were told to ignore, as below nohup.
	out = append(out, "env", "-i", "--default-signal", "HOME="+a.home, "USER="+a.name, "LOGNAME="+a.name, "SHELL=/bin/bash",
		"PATH="+filepath.Join(a.home, ".local", "bin")+":/usr/local/bin:/usr/bin:/bin")
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	return append(append(out, env...), argv...)
}

// own gives dir and everything in it to the user.
func (a *account) own(dir string) error {
	if !a.made {
		return nil
	}
	return filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, a.uid, a.gid)
	})
}

// processes are the user's living processes, as far as they have to do with
// this run: all of a user's that we made, else those with the home folder of
// this run in their environment.
func (a *account) processes() (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		if _, err := proc.StartTime(pid); err != nil || pid == os.Getpid() { // a zombie
			continue
		}
		status, err := os.ReadFile(filepath.Join(d, "status"))
		if err != nil || realUID(string(status)) != a.uid {
			continue
		}
		if !a.made {
			env, err := os.ReadFile(filepath.Join(d, "environ"))
			if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), "HOME="+a.home) {
				continue
			}
		}
		pids = append(pids, pid)
	}
	return pids
}

// realUID is the real user in /proc/PID/status, -1 if it is not there.
func realUID(status string) int {
	for line := range strings.Lines(status) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Uid:" {
			uid, _ := strconv.Atoi(f[1])
			return uid
		}
	}
	return -1
}

// commandLine is what a process was started as, for people.
func commandLine(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimSpace(string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
}
