//go:build linux

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/proto"
)

// suspended is how long the processes stay stopped: longer than the deadlines
// that a run has for something that is expected at once.
const suspended = 6 * time.Second

// TestSuspended: a run that is suspended, as a whole or in part, goes on.
func TestSuspended(t *testing.T) {
	for _, part := range []string{"all of it", "fuseless", "fuseless-guest", "gocryptfs", "rsync", "ssh"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			l := newLab(t).started()
			l.write("folder 0/new", strings.Repeat("new", 1<<20))
			l.remove("folder 0/file 3")
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			p := l.pauseRsync(false)
			c := l.command(ctx, "backup")
			var stderr bytes.Buffer
			c.Stderr = &stderr
			must(t, c.Start())
			p.wait()
			p.goOn()
			var pids []int
			for end := time.Now().Add(20 * time.Second); len(pids) == 0 && time.Now().Before(end); {
				for _, pid := range descendants(c.Process.Pid) {
					name, _ := stat(pid)
					if part == "all of it" || name == part || part == "fuseless" && pid == c.Process.Pid ||
						len(part) > 4 && pid != c.Process.Pid && len(name) > 9 && strings.HasPrefix(part, name[:9]) {
						pids = append(pids, pid)
					}
				}
			}
			if len(pids) == 0 {
				t.Fatalf("there is no %s: %s", part, stderr.String())
			}
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
			time.Sleep(suspended) // as a machine sleeps
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
			if code := exitCode(t, c.Wait()); code != proto.OK {
				t.Errorf("suspended, it ends with %d: %s", code, stderr.String())
				l.ok("backup")
			}
			l.vaultIsSource()
		})
	}
}

// fakeInhibit puts a systemd-inhibit on PATH that notes its arguments in the
// file argv, then runs its command as the real one does, and notes in the file
// ended that this has ended.
func (l *lab) fakeInhibit() (argv, ended string) {
	l.t.Helper()
	bin := l.path("bin")
	if err := os.Mkdir(bin, 0o700); err != nil && !os.IsExist(err) {
		l.t.Fatal(err)
	}
	argv, ended = filepath.Join(bin, "argv"), filepath.Join(bin, "ended")
	must(l.t, os.WriteFile(filepath.Join(bin, "systemd-inhibit"), fmt.Appendf(nil, `#!/bin/sh
trap 'echo > %[2]q' EXIT
trap 'exit 1' TERM
printf '%%s\n' "$@" > %[1]q
for command; do :; done
"$command"
`, argv, ended), 0o700))
	return argv, ended
}

// TestKeptAwake: while a backup runs the machine is kept awake, and no longer
// than that, also if the run is killed.
func TestKeptAwake(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed %v", killed), func(t *testing.T) {
			t.Parallel()
			l := newLab(t).started()
			argv, ended := l.fakeInhibit()
			l.env = append(l.env, "PATH="+l.path("bin")+":"+os.Getenv("PATH"))
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			l.standIn()
			l.plan(shot{})
			if killed {
				l.plan(shot{Event: "transfer begins", Signal: syscall.SIGKILL, To: toTarget})
			}
			l.write("folder 0/new", "new")
			c := l.command(ctx, "backup")
			code := exitCode(t, c.Run())
			if killed != (code != proto.OK) {
				t.Errorf("it ends with %d", code)
			}
			for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				if _, err := os.Stat(ended); err == nil {
					break
				}
				if time.Now().After(end) {
					t.Fatal("it is kept awake for ever")
				}
			}
			b, err := os.ReadFile(argv)
			must(t, err)
			want := "--what=sleep:idle\n--who=fuseless\n--why=backup of photos\n--mode=block\ncat\n"
			if string(b) != want {
				t.Errorf("systemd-inhibit was called with %q, not %q", b, want)
			}
			l.plan(shot{})
			l.ok("backup")
		})
	}
}

// TestNohup: what was told not to mind that its terminal goes does not, and
// what was not minds it once, however often it is told.
func TestNohup(t *testing.T) {
	for _, nohup := range []bool{true, false} {
		t.Run(fmt.Sprint(nohup), func(t *testing.T) {
			t.Parallel()
			l := newLab(t).started()
			p := l.pauseRsync(false)
			if nohup {
				l.before = []string{"nohup"}
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			c := l.command(ctx, "backup")
			var stderr bytes.Buffer
			c.Stderr = &stderr
			must(t, c.Start())
			p.wait()
			want := proto.OK
			if !nohup {
				want = proto.Interrupted
			}
			// The shell sends one, and the kernel another.
			for range 2 {
				must(t, c.Process.Signal(syscall.SIGHUP))
				time.Sleep(20 * time.Millisecond) // for it to be seen as a second one
			}
			if nohup {
				p.goOn()
			}
			if code := exitCode(t, c.Wait()); code != want {
				t.Errorf("after SIGHUP it ends with %d, not %d: %s", code, want, stderr.String())
			}
			l.before = nil
			if left := lasting(l.left); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}
