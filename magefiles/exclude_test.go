//go:build linux

package main_test

import (
	"os"
	"path/filepath"
	"testing"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// TestExcludesKeepTheKeyFile: patterns that match the vault's configuration,
// under either of its names, leave the vault mountable.
func TestExcludesKeepTheKeyFile(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"*.conf", "*", "/*", ".gocryptfs.reverse.conf", "/.gocryptfs.reverse.conf", "gocryptfs.conf"} {
		t.Run(pattern, func(t *testing.T) {
			l := newLab(t)
			l.write("file", "text")
			l.write("stays", "text")
			l.ok("init")
			l.ok("backup") // without the pattern: the configuration is there
			key, err := os.ReadFile(filepath.Join(l.vault, gocryptfs.ConfigName))
			must(t, err)
			all := filepath.Base(pattern) == "*"
			l.exclude = []string{pattern}
			l.configure()
			if all { // no flag empties a vault
				l.refused(proto.Consent, []string{"backup", "-allowDelete"}, "has no files any more")
				l.exclude = []string{pattern, "!/stays"}
				l.configure()
			}
			l.ok("backup", "-allowDelete")
			if b, err := os.ReadFile(filepath.Join(l.vault, gocryptfs.ConfigName)); err != nil || string(b) != string(key) {
				t.Fatalf("the vault's configuration is gone or another: %v", err)
			}
			l.ok("remoteMount")
			s := l.status()
			if s.View == nil || !s.View.Alive {
				t.Fatalf("the vault is not mounted: %s", mustJSON(t, s))
			}
			names, err := os.ReadDir(s.View.Path)
			must(t, err)
			if (len(names) == 1) != all {
				t.Errorf("in the view: %v", names)
			}
			l.ok("remoteUnmount")
		})
	}
}

// TestExcludeFromTheBeginning: the same for a vault whose first backup already
// has the worst pattern.
func TestExcludeFromTheBeginning(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("file", "text")
	l.exclude = []string{"*"}
	l.configure()
	l.ok("init")
	l.ok("backup")
	l.exclude = nil
	l.configure()
	l.ok("backup")
	l.sameAsSource()
}

// TestExcludes: patterns are on plaintext names, as gocryptfs(1) has them, and
// what is excluded from now on is what the source no longer has.
func TestExcludes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.fill()
	for _, f := range []string{"a.tmp", "deep/b.tmp", "cache/c", "deep/cache/d", "keep.tmp.txt", "ä ö/ü.tmp"} {
		l.write(f, f)
	}
	l.exclude = []string{"*.tmp", "/cache"}
	l.configure()
	l.ok("init")
	l.ok("backup")
	want := snapshot(t, l.source)
	for _, p := range []string{"a.tmp", "deep/b.tmp", "cache", "cache/c", "ä ö/ü.tmp"} {
		if want.Entries[p] == nil {
			t.Fatalf("the source has no %s", p)
		}
		delete(want.Entries, p)
	}
	l.judge(want, l.restored(), "forward")

	// One more pattern, that hides ten files of thirty-odd: the limit holds.
	before := l.onRemote()
	l.exclude = append(l.exclude, "/folder 1")
	l.configure()
	l.refused(proto.Consent, []string{"backup"}, "-allowDelete")
	l.kept("a changed exclude list", before)
	l.ok("backup", "-allowDelete")
	for _, p := range want.Paths() {
		if p == "folder 1" || filepath.Dir(p) == "folder 1" {
			delete(want.Entries, p)
		}
	}
	l.judge(want, l.restored(), "forward")
	if n := len(l.inTrash()); n != 10 {
		t.Errorf("%d files in the trash", n)
	}

	// And back: the files are sent again.
	l.exclude = nil
	l.configure()
	l.ok("backup")
	l.sameAsSource()
}
