//go:build linux

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/proto"
)

// trashed is a lab with three entries in its trash, the oldest first, and what
// each restores: all that they replaced or deleted.
func (l *lab) trashed() (names []string, want []map[string]string) {
	l.t.Helper()
	long, longer := strings.Repeat("long", 60), strings.Repeat("wide", 60)
	was := time.Date(2020, 2, 3, 4, 5, 6, 789, time.UTC)
	l.fill()
	for _, f := range []string{long, longer + "/deep/file", longer + "/" + long, "turns/a", "turns/b/c", "kept/x", "sub/dir/y", "sub/z"} {
		l.write(f, "first "+f)
		l.times(f, was)
	}
	must(l.t, os.Symlink("folder 0/file 0", filepath.Join(l.source, "link")))
	l.ok("init")
	l.ok("backup")
	run := func() {
		l.t.Helper()
		before := len(names)
		l.ok("backup", "-allowDelete")
		names = l.trashNames()
		if len(names) != before+1 {
			l.t.Fatalf("the trash has %q", names)
		}
	}

	// What is replaced leaves its name in the vault, folders stay there.
	l.write(long, "second")
	l.write(longer+"/deep/file", "second")
	l.write(longer+"/"+long, "second")
	l.write("folder 0/file 6", "second")
	l.remove("folder 0/file 3")
	l.remove("turns")
	l.remove("link")
	l.write("turns", "a file")
	run()
	want = append(want, map[string]string{
		long: "first " + long, longer + "/deep/file": "first " + longer + "/deep/file", longer + "/" + long: "first " + longer + "/" + long,
		"folder 0/file 6": "this is file 6\n", "folder 0/file 3": "this is file 3\n", "turns/a": "first turns/a", "turns/b/c": "first turns/b/c",
		"link": "-> folder 0/file 0",
	})

	// Now the names go, too, and a folder is deleted that the first entry is in.
	l.remove(long)
	l.remove(longer)
	l.remove("folder 0")
	l.remove("turns")
	l.write("turns/new", "a folder again")
	run()
	want = append(want, map[string]string{long: "second", longer + "/deep/file": "second", longer + "/" + long: "second", "turns": "a file", "folder 0/file 6": "second"})
	for i := range 30 {
		if i%3 == 0 && i != 6 && i != 3 {
			want[1][fmt.Sprintf("folder 0/file %d", i)] = fmt.Sprintf("this is file %d\n", i)
		}
	}

	// The folder is made anew, and a file of it deleted.
	l.write("folder 0/file 6", "third")
	l.write("folder 0/one more", "third")
	l.ok("backup")
	l.remove("folder 0/file 6")
	run()
	return names, append(want, map[string]string{"folder 0/file 6": "third"})
}

// trashNames are the names in the last column of `trash`, the oldest first.
func (l *lab) trashNames() (names []string) {
	l.t.Helper()
	r := l.ok("trash")
	for _, m := range regexp.MustCompile(`(?m)  (\d{8}T\d{9}Z)$`).FindAllStringSubmatch(r.stdout, -1) {
		names = append(names, m[1])
	}
	return names
}

// texts are the files below dir, and what is in them.
func texts(dir string) map[string]string {
	found := map[string]string{}
	for _, p := range filesBelow(dir) {
		rel, _ := filepath.Rel(dir, p)
		fi, err := os.Lstat(p)
		switch {
		case err != nil || fi.IsDir():
		case fi.Mode()&os.ModeSymlink != 0:
			to, _ := os.Readlink(p)
			found[rel] = "-> " + to
		default:
			b, _ := os.ReadFile(p)
			found[rel] = string(b)
		}
	}
	return found
}

func differ(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	for p, w := range want {
		if g, ok := got[p]; !ok || g != w {
			t.Errorf("%s: %.60q is %.60q (there: %v), not %.60q", what, p, g, ok, w)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%s: %.60q does not belong there", what, p)
		}
	}
}

// TestTrash: each entry comes back whole, by itself, also when what gocryptfs
// needs for it stayed in the vault, or went to the trash later; and the remote
// stays as it is.
func TestTrash(t *testing.T) {
	t.Parallel()
	for name, lab := range map[string]func(*testing.T) *lab{"remote": newLab, "local": localLab} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab(t)
			names, want := l.trashed()
			before := l.onRemote()
			for i, n := range names {
				if name == "local" && i > 0 {
					break
				}
				to := l.path("to" + fmt.Sprint(i))
				l.ok("restore", "-from="+n, "-to="+to)
				differ(t, n, want[i], texts(to))
				gone(t, to+".fuseless-restoring-"+n)

				r := l.ok("trash", "-list="+n)
				listed := strings.Split(strings.TrimSpace(r.stdout), "\n")
				for p := range want[i] {
					if !slices.Contains(listed, p) {
						t.Errorf("-list=%s lacks %.60q", n, p)
					}
				}
				if len(listed) != len(want[i]) {
					t.Errorf("-list=%s: %d names, not %d", n, len(listed), len(want[i]))
				}
			}
			fi, err := os.Stat(filepath.Join(l.path("to0"), "turns/a"))
			if err != nil || !fi.ModTime().Equal(time.Date(2020, 2, 3, 4, 5, 6, 789, time.UTC)) {
				t.Errorf("the time of a restored file: %v (%v)", fi, err)
			}
			r := l.ok("trash")
			if !regexp.MustCompile(`(?m)^photos: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d       8 files .* stays until \d{4}-\d\d-\d\d \d\d:\d\d  ` + names[0] + `$`).MatchString(r.stdout) {
				t.Errorf("%s", r.stdout)
			}
			l.unchanged("after all", before)

			if name == "local" {
				return
			}
			// Into the source: what exists is left as it is, a part is a part.
			l.write("folder 0/file 3", "mine")
			l.ok("restore", "-from="+names[0], "-to="+l.source, "-only=/folder 0")
			differ(t, "a part, into the source", map[string]string{"file 3": "mine", "file 6": "this is file 6\n", "one more": "third"}, texts(filepath.Join(l.source, "folder 0")))
			if r := l.run("backup"); r.code != proto.OK {
				t.Error(r)
			}

			stamp, err := time.Parse("20060102T150405", names[0][:15])
			must(t, err)
			to := "-to=" + l.path("none")
			l.refused(proto.Config, []string{"restore", "-from=" + stamp.Local().Format("2006-01"), to}, "the trash has 3 entries of", names[0])
			l.refused(proto.Config, []string{"restore", "-from=1999-12-31", to}, "nothing of 1999-12-31")
			l.refused(proto.Config, []string{"restore", "-from=yesterday", to}, "is no date")
			l.refused(proto.Config, []string{"restore", "-from=" + names[0]}, "-to=DIR")
			l.refused(proto.Config, []string{"restore", "-from=" + names[0], "-only=/none", to}, "nothing in the trash of "+names[0])
			gone(t, l.path("none"))
			must(t, os.RemoveAll(l.path("none.fuseless-restoring-"+names[0])))

			l.interruptedFrom(names[0], want[0])
			l.damagedTrash(names, want[0])
		})
	}
}

// interruptedFrom: a restore from the trash that is stopped leaves what it
// fetched, and nothing else; the next goes on from there.
func (l *lab) interruptedFrom(name string, want map[string]string) {
	t := l.t
	before := l.onRemote()
	to := l.path("to")
	staging := to + ".fuseless-restoring-" + name
	l.own[filepath.Base(staging)] = true
	for at, how := range map[string]syscall.Signal{"fuseless:@trash/" + name: syscall.SIGKILL, "view": syscall.SIGINT} {
		r := l.hooked(func(c call) string {
			if c.content != at && filepath.Base(c.content) != at {
				return ""
			}
			if how == syscall.SIGKILL {
				for _, pid := range descendants(c.pid) {
					if pid != c.pid && !isProgram(pid, "gocryptfs") {
						_ = syscall.Kill(pid, how)
					}
				}
			}
			_ = syscall.Kill(c.pid, how)
			return ""
		}, "restore", "-from="+name, "-to="+to)
		if r.code == proto.OK {
			t.Errorf("%v at %s: %s", how, at, r)
		}
		if how == syscall.SIGINT {
			l.says(r, proto.Interrupted)
			l.nothingMounted()
			if left := lasting(l.left); len(left) > 0 {
				t.Errorf("at %s, interrupted: %q", at, left)
			}
		}
		if len(filesBelow(staging)) == 0 && how == syscall.SIGINT {
			t.Error("what was fetched is not kept")
		}
	}
	l.ok("restore", "-from="+name, "-to="+to)
	differ(t, "after all", want, texts(to))
	gone(t, staging)
	l.unchanged("after all", before)
}

// damagedTrash: what cannot be decrypted any more is named, and the rest is
// restored all the same.
func (l *lab) damagedTrash(names []string, want map[string]string) {
	t := l.t
	// The long names that the first entry needs are in the second. They are
	// lost, or forged.
	found, err := filepath.Glob(filepath.Join(l.trash, names[1], "gocryptfs.longname.*.name"))
	must(t, err)
	if len(found) != 2 {
		t.Fatalf("long names: %q", found)
	}
	for _, p := range found {
		everywhere, err := filepath.Glob(filepath.Join(l.trash, "*", filepath.Base(p)))
		must(t, err)
		for i, p := range everywhere {
			must(t, os.Remove(p))
			if i > 0 {
				must(t, os.WriteFile(p, []byte("4pPv-ZV1sQ2PIZbgDdXpsw"), 0o400))
			}
		}
	}
	to := l.path("damaged")
	l.own["damaged.fuseless-restoring-"+names[0]] = true
	says := []string{"incomplete"}
	for _, p := range found {
		says = append(says, names[0]+"/"+strings.TrimSuffix(filepath.Base(p), ".name")+": its name is neither")
	}
	l.refused(proto.Incomplete, []string{"restore", "-from=" + names[0], "-to=" + to}, says...)
	rest := map[string]string{}
	for p, w := range want {
		if !strings.Contains(p, "longlong") && !strings.Contains(p, "widewide") {
			rest[p] = w
		}
	}
	differ(t, "the rest", rest, texts(to))
	r := l.ends(proto.Incomplete, "trash", "-list="+names[0])
	if !strings.Contains(r.stdout, "turns/a\n") || !strings.Contains(r.stdout, "gocryptfs.longname.") || !strings.Contains(r.stderr, "cannot be decrypted") {
		t.Errorf("%s", r)
	}
}
