//go:build linux

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/mounts"
	"fuseless/guest/proto"
	"fuseless/magefiles/compare"
)

// takeAway takes a mount away, as somebody's `umount -l` or the kernel's
// out-of-memory killer do.
func (l *lab) takeAway(mountpoint string, kill bool) {
	l.t.Helper()
	if !kill {
		if out, err := exec.Command("fusermount3", "-uz", mountpoint).CombinedOutput(); err != nil {
			l.t.Fatalf("fusermount3: %v: %s", err, out)
		}
		return
	}
	killed := 0
	for _, pid := range processes(mountpoint) {
		if isProgram(pid, "gocryptfs") || isProgram(pid, "sshfs") {
			must(l.t, syscall.Kill(pid, syscall.SIGKILL))
			killed++
		}
	}
	if killed == 0 {
		l.t.Fatalf("nothing is mounted at %s", mountpoint)
	}
}

// TestImageTakenAway: without its mount, the encrypted image is an empty folder.
// That is no source that lost all its files.
func TestImageTakenAway(t *testing.T) {
	l := newLab(t).started()
	l.remove("folder 0/file 3")
	before := l.onRemote()
	for _, c := range []struct {
		at    string
		ended bool // it goes when this pass has ended
		kill  bool
	}{
		{at: "send 1"}, {at: "send 1", kill: true}, {at: "send 1", ended: true},
		{at: "look 1"}, {at: "look 1", ended: true, kill: true}, {at: "look 2"}, {at: "look 2", kill: true},
	} {
		name := "before"
		if c.ended {
			name = after
		}
		name += " " + c.at
		if c.kill {
			name += " killed"
		}
		t.Run(name, func(t *testing.T) {
			l.t = t
			l.write("folder 1/new "+name, "new")
			r := l.hooked(func(k call) string {
				if k.pass != c.at {
					return ""
				}
				if k.ended == c.ended {
					l.takeAway(k.content, c.kill)
				}
				if c.ended {
					return after
				}
				return ""
			}, "backup", "-allowDelete")
			l.says(r, proto.Mount, "hint: ", "nothing was deleted")
			l.nothingMounted()
			l.kept(name, before)
			if n := len(l.inTrash()); n > 0 {
				t.Errorf("%d files are in the trash", n)
			}
		})
	}
	l.t = t
	l.completeSince(before)
	l.sameAsSource()
}

// completeSince makes a backup, and fails if it had to mend a file that came
// since before.
func (l *lab) completeSince(before compare.Tree) {
	l.t.Helper()
	is := l.onRemote()
	l.ok("backup")
	end := l.onRemote()
	for p, e := range is.Entries {
		if before.Entries[p] != nil || e.Kind == compare.Dir || strings.Contains(p, ".fuseless-partial") {
			continue
		}
		if f := end.Entries[p]; f == nil || f.Sum != e.Sum {
			l.t.Errorf("%s was not complete on the remote", p)
		}
	}
}

// TestImageTakenAwayMeanwhile: the same in the middle of a large file.
func TestImageTakenAwayMeanwhile(t *testing.T) {
	l := newLab(t).started()
	l.remove("folder 0/file 3")
	before := l.onRemote()
	l.write("folder 1/large", strings.Repeat("slow", 1<<19))
	r := l.hooked(func(k call) string {
		if k.pass != "send 1" {
			return ""
		}
		go func() {
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				if temporary, _ := filepath.Glob(filepath.Join(l.vault, "*", ".*")); len(temporary) > 0 {
					break
				}
			}
			_ = exec.Command("fusermount3", "-uz", k.content).Run()
		}()
		return "--bwlimit=1000"
	}, "backup", "-allowDelete")
	l.says(r, proto.Mount, "nothing was deleted")
	l.nothingMounted()
	l.kept("meanwhile", before)
	l.completeSince(before)
	l.sameAsSource()
}

// TestViewTakenAway: the same for what a restore reads from.
func TestViewTakenAway(t *testing.T) {
	l := newLab(t).started()
	want := snapshot(t, l.source)
	to := l.path("to")
	l.own["to.fuseless-restoring"] = true
	for _, c := range []struct {
		name  string
		kill  bool
		mount string // what is taken away
		args  []string
		codes []proto.Code
	}{
		{"unmounted", false, "view", nil, []proto.Code{proto.Mount}},
		{"killed", true, "view", nil, []proto.Code{proto.Mount}},
		{"the remote unmounted", false, "remote", []string{"-only=/folder 1"}, []proto.Code{proto.Mount, proto.Incomplete}},
		{"the remote killed", true, "remote", []string{"-only=/folder 1"}, []proto.Code{proto.Mount, proto.Incomplete}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.t = t
			taken := false
			r := l.hooked(func(k call) string {
				if filepath.Base(k.content) == "view" {
					l.takeAway(filepath.Join(filepath.Dir(k.content), c.mount), c.kill)
					taken = true
				}
				return ""
			}, append([]string{"restore", "-to=" + to}, c.args...)...)
			if !taken || !slices.Contains(c.codes, r.code) || !strings.Contains(r.stderr, "hint: ") {
				t.Errorf("taken away is %t: %s", taken, r)
			}
			if points, err := mounts.Below(l.mem); err != nil || len(points) > 0 {
				t.Errorf("still mounted: %v (%v)", points, err)
			}
		})
	}
	l.t = t
	l.ok("restore", "-to="+to)
	l.judge(want, snapshot(t, to), "forward")
	if _, err := os.Lstat(to + ".fuseless-restoring"); err == nil {
		t.Error("what was fetched is still there")
	}
}
