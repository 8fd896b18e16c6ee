//go:build linux

package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/proto"
)

// directoryIV is the directory IV of one sub folder of the vault.
func (l *lab) directoryIV() string {
	l.t.Helper()
	found, err := filepath.Glob(filepath.Join(l.vault, "*", "gocryptfs.diriv"))
	must(l.t, err)
	if len(found) == 0 {
		l.t.Fatal("the vault has no sub folder")
	}
	return found[0]
}

// TestRestoreDamagedFolder: gocryptfs hides a folder whose names it cannot
// decrypt. A restore without it is not complete.
func TestRestoreDamagedFolder(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	want := snapshot(t, l.source)
	iv := l.directoryIV()
	fi, err := os.Stat(iv)
	must(t, err)
	good, err := os.ReadFile(iv)
	must(t, err)
	dir, err := os.Stat(filepath.Dir(iv))
	must(t, err)
	folder := filepath.Base(filepath.Dir(iv))
	write := func(data []byte) {
		must(t, os.Remove(iv))
		must(t, os.WriteFile(iv, data, 0o400))
		must(t, os.Chtimes(iv, fi.ModTime(), fi.ModTime()))
		must(t, os.Chtimes(filepath.Dir(iv), dir.ModTime(), dir.ModTime()))
	}
	to := l.path("to")
	for _, c := range []struct {
		name string
		data []byte
	}{{"another IV", bytes.Repeat([]byte{7}, len(good))}, {"no IV", make([]byte, len(good))}, {"empty", nil}} {
		t.Run(c.name, func(t *testing.T) {
			l.t = t
			// Of another time than the one that was fetched before.
			must(t, os.RemoveAll(to+".fuseless-restoring"))
			must(t, os.RemoveAll(to))
			write(c.data)
			l.refused(proto.Incomplete, []string{"restore", "-to=" + to}, "incomplete", "gocryptfs: ")
			if _, err := os.Stat(filepath.Join(to+".fuseless-restoring", folder)); err != nil {
				t.Error("what was fetched is not kept: ", err)
			}
		})
	}
	l.t = t
	l.own["to.fuseless-restoring"] = true
	must(t, os.RemoveAll(to+".fuseless-restoring"))
	write(good)
	l.ok("restore", "-to="+to)
	l.judge(want, snapshot(t, to), "forward")
	gone(t, to+".fuseless-restoring")
}

// TestRestorePartial: what arrived of a file when a backup broke off is no file
// of the backup, and a restore is complete without it.
func TestRestorePartial(t *testing.T) {
	t.Parallel()
	for name, lab := range map[string]func(*testing.T) *lab{"remote": newLab, "local": localLab} {
		t.Run(name, func(t *testing.T) {
			l := lab(t).started()
			for _, dir := range []string{l.vault, filepath.Dir(l.directoryIV())} {
				fi, err := os.Stat(dir)
				must(t, err)
				must(t, os.Mkdir(filepath.Join(dir, ".fuseless-partial"), 0o700))
				must(t, os.WriteFile(filepath.Join(dir, ".fuseless-partial", "Q0mqyl0ZtNBjJ7V1uR6IJQ"), []byte("half"), 0o600))
				must(t, os.Chtimes(dir, fi.ModTime(), fi.ModTime()))
			}
			l.sameAsSource()
			part := l.path("part")
			l.ok("restore", "-to="+part, "-only=/folder 1")
			if n := len(filesBelow(part)); n != 11 {
				t.Errorf("restored are %d entries of a folder with ten files", n)
			}
		})
	}
}

// TestRestoreIntoExisting: the folders that are there keep their mode and owner.
func TestRestoreIntoExisting(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	to := l.path("to")
	dir := filepath.Join(to, "folder 1")
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.Chmod(dir, 0o2711))
	must(t, syscall.Chmod(dir, 0o2711))
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 4711, 4712
		must(t, os.Chown(dir, uid, gid))
		must(t, syscall.Chmod(dir, 0o2711)) // chown takes the bit away
	}
	must(t, os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o600))
	l.ok("restore", "-to="+to)
	var st syscall.Stat_t
	must(t, syscall.Stat(dir, &st))
	if st.Mode&0o7777 != 0o2711 || int(st.Uid) != uid || int(st.Gid) != gid {
		t.Errorf("the folder that was there now has mode %o and belongs to %d:%d", st.Mode, st.Uid, st.Gid)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "file 1")); err != nil || string(b) != "this is file 1\n" {
		t.Errorf("it was not restored into: %q (%v)", b, err)
	}
}

// TestRestoreRefused: what can only be a slip changes nothing.
func TestRestoreRefused(t *testing.T) {
	t.Parallel()
	l := localLab(t).started()
	before := l.onRemote()
	to := l.path("to")
	must(t, os.Symlink(l.vault, l.path("link")))
	for _, dir := range []string{l.vault, filepath.Join(l.vault, "new"), filepath.Join(l.trash, "new"), filepath.Dir(l.vault), filepath.Join(l.dir, "link/new")} {
		l.refused(proto.Config, []string{"restore", "-to=" + dir}, "inside each other")
	}
	for _, only := range []string{"/", "//"} {
		l.refused(proto.Config, []string{"restore", "-to=" + to, "-only=" + only}, "names nothing")
	}
	l.refused(proto.Config, []string{"restore", "-to=" + to, "-only=/none"}, "nothing in the vault matches")
	gone(t, to)
	l.unchanged("refused", before)
}

// TestRestoreInterrupted: a restore that is stopped while it decrypts goes on
// later, and then all folders have the times and modes of the backup.
func TestRestoreInterrupted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.fill()
	l.write("folder 2/large", strings.Repeat("slow", 1<<18))
	must(t, os.Chmod(filepath.Join(l.source, "folder 0"), 0o2750))
	must(t, os.Chmod(filepath.Join(l.source, "folder 2"), 0o555)) // while it is filled it must be writable
	must(t, os.Chmod(l.source, 0o755))
	l.asUser()
	for _, dir := range []string{"folder 0", "folder 1", "folder 2", "."} {
		l.times(dir, time.Date(2011, 2, 3, 4, 5, 6, 789, time.UTC))
	}
	l.ok("init")
	l.ok("backup")
	want := snapshot(t, l.source)
	to := l.path("to")
	l.own["to.fuseless-restoring"] = true
	var stopped bool
	r := l.hooked(func(c call) string {
		if filepath.Base(c.content) != "view" {
			return ""
		}
		go func() { // as soon as something of the slow copy is there
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				if _, err := os.Stat(filepath.Join(to, "folder 1", "file 1")); err == nil {
					break
				}
			}
			_ = syscall.Kill(c.pid, syscall.SIGINT)
		}()
		stopped = true
		return "--bwlimit=100"
	}, "restore", "-to="+to)
	if !stopped {
		t.Fatalf("it did not decrypt: %s", r)
	}
	l.says(r, proto.Interrupted)
	l.nothingMounted()
	if _, err := os.Stat(filepath.Join(to, "folder 2", "large")); err == nil {
		t.Fatal("it was not interrupted while it decrypted")
	}
	l.ok("restore", "-to="+to)
	l.judge(want, snapshot(t, to), "forward")
	gone(t, to+".fuseless-restoring")
}
