//go:build linux

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/magefiles/screen"
)

// TestOneLogin: a backup logs in to the remote once, whatever it has to do there.
func TestOneLogin(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	for what, change := range map[string]func(){
		"nothing": func() {},
		"much": func() {
			l.write("new folder/new", "new")
			l.write("folder 0/file 0", "changed")
			l.remove("folder 1/file 1")
		},
	} {
		change()
		before := l.server.Counters().Connections
		l.ok("backup", "-allowDelete")
		if n := l.server.Counters().Connections - before; n != 1 {
			t.Errorf("a backup with %s to do makes %d connections", what, n)
		}
	}
	l.sameAsSource()
}

// TestSettled: gocryptfs's own files are compared once more (gocryptfs#802) in
// each run that has to do with one of them, and after each run that did not come
// to its end; else that would be half of the time of a run without changes.
func TestSettled(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if v, err := gocryptfs.Installed(t.Context()); err != nil || !v.Less(gocryptfs.FixedReverse) {
		t.Skip("for gocryptfs before 2.5.0; this is ", v)
	}
	l.started()
	backup := func(want bool, args ...string) {
		t.Helper()
		r := l.ok(append([]string{"backup"}, args...)...)
		if got := strings.Contains(r.stderr, screen.StepText(proto.StepVirtual)); got != want {
			t.Errorf("compared: %v, want %v: %s", got, want, r.stderr)
		}
	}
	backup(false)
	edit := filepath.Join(l.source, "folder 0", "file 0")
	must(t, os.WriteFile(edit, []byte("edited in place"), 0o644)) // the folder stays as it is
	backup(false)
	if l.last().UserFiles != 1 {
		t.Error("the edited file was not sent: ", l.last())
	}
	l.write("folder 0/new", "new")
	backup(true)
	backup(false)
	backup(true, "-checksum")

	// What a comparison has to mend, it may have got wrong itself.
	l.write("folder 0/newer", "newer")
	l.damageIVs()
	backup(true)
	backup(true)
	backup(false)

	// A run that was killed may have sent something wrong.
	must(t, os.WriteFile(edit, []byte("edited again"), 0o644))
	c, _ := l.paused()
	all := descendants(c.Process.Pid)
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, pid := range all {
			_ = syscall.Kill(pid, sig)
		}
	}
	_ = c.Wait()
	l.damageIVs()
	backup(true)
	l.sameAsSource()
	backup(true) // the one before found something
	backup(false)

	// After a week it is time.
	settled := filepath.Join(l.stateDir(), "settled")
	must(t, os.WriteFile(settled, []byte(time.Now().UTC().AddDate(0, 0, -8).Format(time.RFC3339)), 0o600))
	l.damageIVs()
	backup(true)
	l.sameAsSource()
}

// damageIVs changes the directory IVs of the vault, but not their sizes and times.
func (l *lab) damageIVs() {
	l.t.Helper()
	all, err := filepath.Glob(filepath.Join(l.vault, "*", "gocryptfs.diriv"))
	must(l.t, err)
	if len(all) == 0 {
		l.t.Fatal("the vault has no directory IVs")
	}
	for _, f := range all {
		fi, err := os.Stat(f)
		must(l.t, err)
		must(l.t, os.Chmod(f, 0o600))
		must(l.t, os.WriteFile(f, []byte("0123456789abcdef"), 0o600))
		must(l.t, os.Chmod(f, fi.Mode()))
		must(l.t, os.Chtimes(f, fi.ModTime(), fi.ModTime()))
	}
}
