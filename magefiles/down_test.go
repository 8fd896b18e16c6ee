//go:build linux

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/proto"
	"fuseless/magefiles/bridge"
)

// commandLimit is how long status and what takes things down may take.
const commandLimit = 10 * time.Second

// timely runs targets that are to succeed within the limit.
func (l *viewLab) timely(args ...string) {
	l.t.Helper()
	start := time.Now()
	r := l.run(args...)
	took := time.Since(start)
	l.t.Logf("fuseless %v: %.1f s", args, took.Seconds())
	if took > commandLimit {
		l.t.Errorf("fuseless %v took %v", args, took)
	}
	if r.code != 0 {
		l.t.Errorf("fuseless %v: %s", args, r)
	}
}

// Whatever hangs, status and what takes things down end in time, and leave
// nothing; lab.close looks for the latter.
func TestDownWhateverHangs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		short bool // not each way, for the time that it takes
		hang  func(l *viewLab) (mend func())
	}{
		{"link cut", false, (*viewLab).cut},
		{"sftp-server stopped", false, func(l *viewLab) func() { return l.hung("sftp-server") }},
		{"gocryptfs stopped", false, func(l *viewLab) func() { return l.stopped("view") }},
		{"sshfs stopped", false, func(l *viewLab) func() { return l.stopped("remote") }},
		{"WebDAV server stopped", true, func(l *viewLab) func() {
			return l.suspend(l.theProcess("fuseless-guest", l.runDir()+"/view"))
		}},
		{"bridge stopped", true, func(l *viewLab) func() {
			pid, ok := bridge.Running(filepath.Join(l.runDir(), "remote.sock"))
			if !ok {
				l.t.Fatal("there is no bridge")
			}
			return l.suspend(pid)
		}},
		{"davfs2 stopped", true, func(l *viewLab) func() { return l.suspend(l.theProcess("mount.davfs", l.mnt)) }},
		{"files open", false, (*viewLab).heldOpen},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newViewLab(t)
			for _, how := range [][]string{{"hostUnmount", "unserve", "remoteUnmount"}, {"close"}, {"down"}} {
				if c.short && how[0] == "close" {
					continue // it is the first three in one call
				}
				if how[0] == "down" {
					l.ok("open")
				} else {
					l.ok("remoteMount", "serve", "hostMount")
				}
				l.host = true
				l.list()
				l.works()
				mend := c.hang(l)
				l.next++
				if c.name != "files open" {
					for _, f := range l.looks(l.next) { // somebody waits
						go func() { _ = f() }()
					}
				}
				l.timely("status")
				if c.name == "files open" && how[0] != "down" {
					// The folder on the host is not taken from whom uses it.
					start := time.Now()
					l.refused(proto.Busy, how[:1], "is in use")
					if took := time.Since(start); took > commandLimit {
						t.Errorf("fuseless %s took %v", how[0], took)
					}
					mend()
				}
				for _, target := range how {
					l.timely(target)
				}
				mend()
				if left := lasting(l.left); len(left) > 0 {
					t.Errorf("%v leaves %v", how, left)
				}
			}
		})
	}
}

// stopped stops the process behind a mount of the guest.
func (l *viewLab) stopped(name string) func() {
	l.t.Helper()
	return l.suspend(l.theProcess(map[string]string{"view": "gocryptfs", "remote": "sshfs"}[name], filepath.Join(l.runDir(), name)))
}

// suspend stops a process until what is returned is called.
func (l *viewLab) suspend(pid int) (goOn func()) {
	l.t.Helper()
	must(l.t, syscall.Kill(pid, syscall.SIGSTOP))
	return func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
}

// theProcess is the one process whose program's name begins so and that has word
// in its argv.
func (l *lab) theProcess(name, word string) (pid int) {
	l.t.Helper()
	n := 0
	for _, p := range processes(word) {
		if comm, _ := stat(p); strings.HasPrefix(comm, name) {
			pid = p
			n++
		}
	}
	if n != 1 {
		l.t.Fatalf("%d processes are %s of %s", n, name, word)
	}
	return pid
}

// heldOpen has a process with an open file, and its working folder, in each of
// the mounts.
func (l *viewLab) heldOpen() func() {
	l.t.Helper()
	var all []*exec.Cmd
	for _, dir := range []string{filepath.Join(l.runDir(), "view"), filepath.Join(l.runDir(), "remote"), l.mnt} {
		f, err := os.Open(dir)
		must(l.t, err)
		c := exec.Command("cat")
		c.Dir, c.ExtraFiles = dir, []*os.File{f}
		_, err = c.StdinPipe()
		must(l.t, err)
		must(l.t, c.Start())
		must(l.t, f.Close())
		all = append(all, c)
	}
	return func() {
		for _, c := range all {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
}
