//go:build linux

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// TestConsentIsForTheNumber: who answers is asked again if meanwhile more is
// missing than was shown.
func TestConsentIsForTheNumber(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	before := l.onRemote()
	for i := range 5 {
		l.remove(fmt.Sprintf("folder %d/file %d", i%3, i))
	}
	shown, code := l.talk([]line{
		{"move 5 entries", func() {
			l.remove("folder 2/file 5")
			l.remove("folder 0/file 6")
		}, "y"},
		{"move 7 entries", func() {
			l.kept("after a consent for less", before)
			if n := len(l.inTrash()); n > 0 {
				t.Errorf("%d files were moved by a consent for less", n)
			}
		}, "y"},
	}, "backup")
	if code != proto.OK {
		t.Errorf("after the second y: %d: %s", code, shown)
	}
	if r := l.last(); r.Deleted != 7 || len(l.inTrash()) != 7 {
		t.Errorf("%+v, in the trash %q", r, l.inTrash())
	}
	l.sameAsSource()
}

// TestEmptiedSource: a flag in a script never empties a vault; a person may.
func TestEmptiedSource(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		empty func(l *lab)
		all   int
	}{
		{"all", func(l *lab) {
			aside(l, func(name string) bool { return name != gocryptfs.ReverseConfigName })
		}, 36},
		{"all but folders", func(l *lab) {
			for i := range 30 {
				l.remove(fmt.Sprintf("folder %d/file %d", i%3, i))
			}
		}, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t).started()
			before := l.onRemote()
			c.empty(l)
			l.refused(proto.Consent, []string{"backup", "-allowDelete"}, "has no files any more", "on a terminal")
			l.kept("a flag", before)
			if n := len(l.inTrash()); n > 0 {
				t.Errorf("a flag moved %d files", n)
			}
			question := fmt.Sprintf("the source has no files any more. Move all %d entries", c.all)
			if shown, code := l.talk([]line{{question: question, answer: "n"}}, "backup"); code != proto.Consent {
				t.Errorf("n: %d: %s", code, shown)
			}
			l.kept("n", before)
			if shown, code := l.talk([]line{{question: question, answer: "y"}}, "backup"); code != proto.OK {
				t.Errorf("y: %d: %s", code, shown)
			}
			if n := len(l.inTrash()); n != 30 {
				t.Errorf("y moved %d files", n)
			}
			l.sameAsSource()
		})
	}
}

// TestManyFoldersBecomeFiles: more than rsync keeps messages for, in one run.
func TestManyFoldersBecomeFiles(t *testing.T) {
	t.Parallel()
	const many = 1100
	l := newLab(t)
	for i := range many {
		l.write(fmt.Sprintf("%d/file", i), "in a folder")
	}
	l.write("stays", "as it is")
	l.ok("init")
	l.ok("backup")
	for i := range many {
		l.remove(fmt.Sprint(i))
		l.write(fmt.Sprint(i), "a file")
	}
	l.ok("backup", "-allowDelete")
	if n := len(l.inTrash()); n != many {
		t.Errorf("%d of %d files are in the trash", n, many)
	}
	l.ok("backup")
	l.nothingSent()
	l.sameAsSource()
}

// TestPassphraseChanged: it is changed on the source, with stock gocryptfs; the
// vault's configuration follows.
func TestPassphraseChanged(t *testing.T) {
	t.Parallel()
	const changed = "another passphrase: 55f0e1"
	l := newLab(t).started()
	c := exec.Command("gocryptfs", "-q", "-reverse", "-passwd", "--", l.source)
	c.Stdin = strings.NewReader(passphrase + "\n" + changed + "\n")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("gocryptfs -passwd: %v: %s", err, out)
	}
	before, err := os.ReadFile(filepath.Join(l.vault, gocryptfs.ConfigName))
	must(t, err)
	// Ours no longer opens.
	l.refused(proto.Passphrase, []string{"backup"}, "the passphrase is wrong")
	must(t, os.WriteFile(l.passFile(), []byte(changed+"\n"), 0o600))
	l.write("folder 0/new", "new")
	l.ok("backup")
	if r := l.last(); r.Created > 2 || r.Deleted != 0 {
		t.Errorf("after a new passphrase: %+v", r)
	}
	mine, err := os.ReadFile(l.keyFile())
	must(t, err)
	if theirs, err := os.ReadFile(filepath.Join(l.vault, gocryptfs.ConfigName)); err != nil || string(theirs) != string(mine) || string(theirs) == string(before) {
		t.Errorf("the vault's configuration did not follow (%v)", err)
	}
	l.sameAsSource()
	l.ok("remoteMount")
	l.ok("remoteUnmount")
	l.ok("backup")
	l.nothingSent()
}
