//go:build linux

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
)

// TestFoldersRenewedLate: folders are removed and made again while the last
// passes of a run with deletions are under way, behind a mount that has been
// read before. Whatever the run makes of it, no folder of the vault is lost.
func TestFoldersRenewedLate(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.renewAll(0)
	for i := range 40 {
		l.write(fmt.Sprintf("files/%d", i), "a file")
	}
	for i := range folders {
		l.tellApart(i)
	}
	l.ok("init")
	round := 0
	for n, c := range []struct {
		name     string
		conflict bool     // a folder becomes a file, too
		at       []string // the passes before which, or after which, it happens
	}{
		{"at both looks", false, []string{"look 1", "look 2"}},
		{"at the second sending", true, []string{"send 2"}},
		{"after the very last", true, []string{"send 2 after", "own files 2 after"}},
		{"at all of them", false, []string{"send 1", "look 1", "own files 1", "look 2", "times 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.t = t
			turns := fmt.Sprintf("turns %d", n)
			l.write(turns+"/a", "a")
			l.ok("backup", "-allowDelete")
			l.remove(fmt.Sprintf("files/%d", n))
			if c.conflict {
				l.remove(turns)
				l.write(turns, "a file")
			}
			begun := round
			r := l.hooked(func(k call) string {
				pass := k.pass
				if k.ended {
					pass += " " + after
				}
				if slices.Contains(c.at, pass) {
					// gocryptfs keeps the directory IVs of what is read. A pass over its
					// own files begins on a mount that nobody has read from.
					if k.kind() != "own files" {
						readAll(k.content)
					}
					round++
					l.swap()
					which := []int{round * 3 % folders, (round*3 + 1) % folders, (round*3 + 2) % folders}
					must(t, l.renew(round, which...))
					l.tellApart(which...)
				}
				if slices.Contains(c.at, pass+" "+after) {
					return after
				}
				return ""
			}, "backup", "-allowDelete")
			if round == begun {
				t.Fatalf("there was no pass %q: %s", c.at, r)
			}
			switch r.code {
			case proto.OK: // The vault is whole, of whatever moment.
				must(t, os.RemoveAll(l.path("at once")))
				l.ok("restore", "-to="+l.path("at once"))
			case proto.Incomplete: // it says so
			default:
				t.Errorf("backup while folders are renewed: %s", r)
			}
			l.ok("backup", "-allowDelete")
			l.sameAsSource()
		})
	}
	l.t = t
	l.ok("backup")
	l.nothingSent()
}

// swap gives each second folder the name of the one before it, and the other
// way round: as with folders that are deleted and made, a name has another inode
// number afterwards, but here on every file system.
func (l *lab) swap() {
	l.t.Helper()
	dir := func(i int) string { return filepath.Join(l.source, fmt.Sprintf("folder %d", i)) }
	for i := 0; i < folders; i += 2 {
		for _, r := range [][2]string{{dir(i), dir(i) + " aside"}, {dir(i + 1), dir(i)}, {dir(i) + " aside", dir(i + 1)}} {
			must(l.t, os.Rename(r[0], r[1]))
		}
	}
}

// tellApart gives each file of some folders an mtime of its own. Those of one
// tick of the kernel's clock share one, and of two that also have one size and
// swap their names rsync sees nothing.
func (l *lab) tellApart(which ...int) {
	l.t.Helper()
	for _, i := range which {
		dir := fmt.Sprintf("folder %d", i)
		for n, p := range filesBelow(filepath.Join(l.source, dir)) {
			if fi, err := os.Lstat(p); err == nil && fi.Mode().IsRegular() {
				at := fi.ModTime().Add(time.Duration(i*1000+n+1) * time.Nanosecond)
				must(l.t, os.Chtimes(p, at, at))
			}
		}
	}
}

// readAll reads all that is below dir.
func readAll(dir string) {
	for _, p := range filesBelow(dir) {
		_, _ = os.ReadFile(p)
	}
}

// TestTrashKeepsWhatTheLastBackupHad: a file that changes between the passes of
// one run does not replace, in the trash, the version that the last backup had.
func TestTrashKeepsWhatTheLastBackupHad(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.fill()
	l.write("turns/a", "a")
	l.write("turns/b", "b")
	l.write("folder 1/file 1", "of the last backup")
	l.ok("init")
	l.ok("backup")
	l.remove("turns")
	l.write("turns", "a file")
	l.remove("folder 0/file 3")
	var sent int
	r := l.hooked(func(c call) string {
		if c.kind() != "look" {
			sent++
			must(t, os.WriteFile(filepath.Join(l.source, "folder 1/file 1"), fmt.Appendf(nil, "of pass %d", sent), 0o644))
		}
		return ""
	}, "backup", "-allowDelete")
	l.says(r, proto.OK)
	if sent < 2 {
		t.Fatalf("only %d passes", sent)
	}
	found := map[string][]string{}
	runs, err := filepath.Glob(filepath.Join(l.trash, "2*"))
	must(t, err)
	for _, run := range runs {
		for p, data := range l.decryptRun(run) {
			found[p] = append(found[p], data)
		}
	}
	for p, want := range map[string]string{
		"folder 1/file 1": "of the last backup", "folder 0/file 3": "this is file 3\n", "turns/a": "a", "turns/b": "b",
	} {
		if !strings.Contains("\n"+strings.Join(found[p], "\n")+"\n", "\n"+want) {
			t.Errorf("in the trash %q is %q, and not %q", p, found[p], want)
		}
	}
	l.ok("backup")
	l.sameAsSource()
}

// decryptRun shows the user's files of one folder of the trash.
func (l *lab) decryptRun(run string) map[string]string {
	l.t.Helper()
	// The directory IVs stayed in the vault. Nothing else of it: what is shown
	// is to be of this run alone.
	return l.decrypted([]string{"--include=*/", "--include=gocryptfs.*", "--exclude=*", l.vault + "/"}, []string{"--force", run + "/"})
}
