//go:build linux

package main_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
)

// decryptTrash shows the files of the newest run in the trash as their owner
// would see them: by stock gocryptfs, with the vault's configuration.
func (l *lab) decryptTrash() map[string]string {
	l.t.Helper()
	runs, err := filepath.Glob(filepath.Join(l.trash, "2*Z"))
	must(l.t, err)
	if len(runs) == 0 {
		return nil
	}
	slices.Sort(runs)
	newest := runs[len(runs)-1]
	// The trash holds what was moved, without the directory IVs that stayed in
	// the vault; with both in one folder it is a vault again.
	// --force: a folder in the vault may have been a file.
	return l.decrypted([]string{l.vault + "/"}, []string{"--force", newest + "/"})
}

// decrypted shows the files of a vault that is put together by copies, each of
// which are arguments of rsync, as stock gocryptfs shows them.
func (l *lab) decrypted(copies ...[]string) map[string]string {
	l.t.Helper()
	whole, view := filepath.Join(l.mem, "whole"), filepath.Join(l.mem, "view")
	must(l.t, os.Mkdir(view, 0o700))
	defer os.RemoveAll(whole)
	defer os.Remove(view)
	for _, c := range copies {
		l.do(append(append([]string{"rsync", "-a", "--ignore-times"}, c...), whole)...)
	}
	l.do("gocryptfs", "-q", "-ro", "-passfile", l.passFile(), "--", whole, view)
	defer unmount(l.t, view)
	files := map[string]string{}
	for _, p := range filesBelow(view) {
		if b, err := os.ReadFile(p); err == nil {
			rel, _ := filepath.Rel(view, p)
			files[rel] = string(b)
		}
	}
	return files
}

// TestDeletions: what the source no longer has goes to the trash, within the
// limit; afterwards the vault is what the source is.
func TestDeletions(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	for _, step := range []struct {
		name    string
		change  func()
		deleted int64             // entries, gocryptfs's own included
		trash   map[string]string // is in the trash
	}{
		{"a file", func() { l.remove("folder 0/file 3") }, 1,
			map[string]string{"folder 0/file 3": "this is file 3\n"}},
		{"a file replaced", func() { l.write("folder 0/file 6", "another text") }, 0,
			map[string]string{"folder 0/file 6": "this is file 6\n"}},
		{"a new folder", func() { l.write("new/a/b", "b"); l.write("new/c", "c") }, 0, nil},
		{"the folder deleted", func() { l.remove("new") }, 6,
			map[string]string{"new/a/b": "b", "new/c": "c"}},
		{"a new folder again", func() { l.write("turns/a", "a"); l.write("turns/b/c", "c") }, 0, nil},
		{"a folder becomes a file", func() { l.remove("turns"); l.write("turns", "a file") }, -1,
			map[string]string{"turns/a": "a", "turns/b/c": "c"}},
		{"a file becomes a folder", func() { l.remove("turns"); l.write("turns/new", "in a folder") }, -1,
			map[string]string{"turns": "a file"}},
		{"a file renamed", func() {
			must(t, os.Rename(filepath.Join(l.source, "folder 1/file 1"), filepath.Join(l.source, "folder 2/file 1")))
		}, 1, map[string]string{"folder 1/file 1": "this is file 1\n"}},
		{"a long name", func() { l.write(strings.Repeat("long", 60), "long") }, 0, nil},
		{"the long name deleted", func() { l.remove(strings.Repeat("long", 60)) }, 2,
			map[string]string{strings.Repeat("long", 60): "long"}},
		{"an empty folder", func() { must(t, os.Mkdir(filepath.Join(l.source, "empty"), 0o755)) }, 0, nil},
		{"the empty folder deleted", func() { l.remove("empty") }, 2, nil},
		{"a symlink becomes a folder", func() {
			must(t, os.Symlink("folder 0", filepath.Join(l.source, "link")))
			l.ok("backup")
			l.remove("link")
			l.write("link/file", "in a folder")
		}, -1, nil},
	} {
		t.Run(step.name, func(t *testing.T) {
			l.t = t
			time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // a trash folder of its own
			step.change()
			before := l.inTrash()
			l.ok("backup")
			r := l.last()
			if step.deleted >= 0 && r.Deleted != step.deleted {
				t.Errorf("deleted %d entries instead of %d", r.Deleted, step.deleted)
			}
			if r.Deleted > 0 && r.Trash == "" {
				t.Errorf("it does not say where the deleted files are: %+v", r)
			}
			if step.trash == nil && len(l.inTrash()) != len(before) && step.deleted == 0 {
				t.Errorf("in the trash: %q", l.inTrash())
			}
			if step.trash != nil {
				got := l.decryptTrash()
				for p, want := range step.trash {
					// What is in the vault now, the trash's copy hides.
					if got[p] != want {
						t.Errorf("in the trash %q is %q, not %q", p, got[p], want)
					}
				}
			}
			l.sameAsSource()
			l.ok("backup")
			l.nothingSent()
		})
	}
	l.t = t
}

// TestDeletionLimit: above 10 % somebody has to say so.
func TestDeletionLimit(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	before := l.onRemote()
	for i := range 5 {
		l.remove(fmt.Sprintf("folder %d/file %d", i%3, i))
	}
	l.write("folder 0/new", "it is sent all the same")

	l.refused(proto.Consent, []string{"backup"}, "5 entries", "-allowDelete")
	l.kept("without consent", before)
	if r := l.last(); r.Held != 5 || r.Deleted != 0 || r.Created != 1 {
		t.Errorf("held: %+v", r)
	}
	l.refused(proto.Consent, []string{"backup"}, "5 entries")

	const question = "move 5 entries that the source no longer has to the trash?"
	if shown, code := l.onTerminal(question, "n", "backup"); code != proto.Consent {
		t.Errorf("n: code %d: %s", code, shown)
	}
	l.kept("after n", before)
	if shown, code := l.onTerminal(question, "y", "backup"); code != proto.OK {
		t.Errorf("y: code %d: %s", code, shown)
	}
	if r := l.last(); r.Deleted != 5 || r.Held != 0 || len(l.inTrash()) != 5 {
		t.Errorf("after y: %+v, in the trash %q", r, l.inTrash())
	}
	l.sameAsSource()

	for i := range 4 {
		l.remove(fmt.Sprintf("folder %d/file %d", (i+6)%3, i+6))
	}
	l.ends(proto.Consent, "backup")
	l.ok("backup", "-allowDelete")
	if r := l.last(); r.Deleted != 4 || len(l.inTrash()) != 9 {
		t.Errorf("-allowDelete: %+v, in the trash %q", r, l.inTrash())
	}
	l.sameAsSource()
}

// TestDryRun: it says in plaintext what would be done, and does nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	before, last := l.onRemote(), mustJSON(t, l.status().LastBackup)
	l.remove("folder 0/file 0")
	l.write("folder 1/file 1", "changed")
	l.write("folder 2/brand new", "new")
	r := l.ok("backup", "-dryRun")
	for _, say := range []string{"*deleting", "folder 0/file 0", "folder 1/file 1", "folder 2/brand new"} {
		if !strings.Contains(r.stderr, say) {
			t.Errorf("the dry run does not say %q:\n%s", say, r.stderr)
		}
	}
	if !strings.Contains(r.stdout, "would back up") || !strings.Contains(r.stdout, "1 deleted") {
		t.Errorf("the account of the dry run: %s", r.stdout)
	}
	l.unchanged("after a dry run", before)
	if is := mustJSON(t, l.status().LastBackup); is != last {
		t.Errorf("a dry run counts as a backup: %s", is)
	}
}

// aged gives entries of the trash the times that their names say, by the remote's
// clock.
func (l *lab) aged(names ...string) {
	l.t.Helper()
	for _, n := range names {
		at, err := time.Parse("20060102T150405", n[:len("20060102T150405")])
		must(l.t, err)
		must(l.t, os.Chtimes(filepath.Join(l.trash, n), at, at))
	}
}

// TestPrune: old trash goes, and nothing else that lies there.
func TestPrune(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	l.remove("folder 0/file 0")
	l.ok("backup")
	runs, err := os.ReadDir(l.trash)
	must(t, err)
	old := time.Now().AddDate(0, 0, -40).UTC().Format("20060102T150405Z")
	must(t, os.Rename(filepath.Join(l.trash, runs[len(runs)-1].Name()), filepath.Join(l.trash, old)))
	young := time.Now().AddDate(0, 0, -6).UTC().Format("20060102T150405Z")
	for _, d := range []string{young, "mine", old + "-kept", "2019"} {
		must(t, os.Mkdir(filepath.Join(l.trash, d), 0o700))
		must(t, os.WriteFile(filepath.Join(l.trash, d, "file"), []byte("x"), 0o600))
	}
	older := time.Now().AddDate(0, 0, -50).UTC().Format("20060102T150405Z")
	must(t, os.WriteFile(filepath.Join(l.trash, older), []byte("a file"), 0o600))
	// Old by our clock, and not by the remote's: one of the two was wrong then.
	doubtful := time.Now().AddDate(0, 0, -20).UTC().Format("20060102T150405Z")
	must(t, os.MkdirAll(filepath.Join(l.trash, doubtful, "file"), 0o700))
	l.aged(old, old+"-kept", older)

	l.write("folder 0/one more", "so that the run has something to do")
	l.ok("backup")
	gone(t, filepath.Join(l.trash, old))
	for _, p := range []string{young + "/file", "mine/file", old + "-kept/file", "2019/file", older, doubtful + "/file"} {
		if _, err := os.Stat(filepath.Join(l.trash, p)); err != nil {
			t.Error(err)
		}
	}
	l.sameAsSource()
	if b := []byte(l.run("backup").stdout); !bytes.Contains(b, []byte("0 files sent")) {
		t.Errorf("%s", b)
	}
}
