//go:build linux

package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// TestSourceFaults: a source that is not what it was deletes nothing on the
// remote, and once it is mended the next run is right. TestFailures has those
// that a backup refuses before it sends anything.
func TestSourceFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		user  bool // an ordinary user runs it
		spoil func(l *lab)
		mend  func(l *lab)
		code  proto.Code
		says  string
	}{
		{"emptied", false, func(l *lab) {
			aside(l, func(name string) bool { return name != gocryptfs.ReverseConfigName })
		}, back, proto.Consent, "were kept in"},
		{"replaced by an empty folder", false, func(l *lab) {
			aside(l, func(string) bool { return true })
		}, back, proto.Consent, "were kept in"},
		{"a folder unreadable", true, func(l *lab) {
			must(l.t, os.Chmod(filepath.Join(l.source, "folder 1"), 0))
			l.remove("folder 2/file 2")
		}, func(l *lab) {
			must(l.t, os.Chmod(filepath.Join(l.source, "folder 1"), 0o755))
		}, proto.Incomplete, "nothing was deleted"},
		{"a file unreadable", true, func(l *lab) {
			l.write("folder 1/file 4 b", "its folder is looked at again")
			l.write("folder 1/file 4", "a new text that cannot be read")
			must(l.t, os.Chmod(filepath.Join(l.source, "folder 1/file 4"), 0))
			l.remove("folder 2/file 2")
		}, func(l *lab) {
			must(l.t, os.Chmod(filepath.Join(l.source, "folder 1/file 4"), 0o644))
		}, proto.Incomplete, "nothing was deleted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.fill()
			if c.user {
				l.asUser()
			}
			l.ok("init")
			l.ok("backup")
			before := l.onRemote()
			c.spoil(l)
			l.refused(c.code, []string{"backup"}, c.says)
			l.kept("afterwards", before)
			if len(l.inTrash()) > 0 {
				t.Errorf("in the trash: %q", l.inTrash())
			}
			if s := l.status(); s.LastBackup.Code != c.code || s.LastBackup.Message == "" || s.LastBackup.Success.IsZero() {
				t.Errorf("status of a backup that failed: %+v", s.LastBackup)
			}
			c.mend(l)
			l.ok("backup")
			l.sameAsSource()
			l.ok("backup")
			l.nothingSent()
		})
	}
}

// aside moves what is in the source away, as far as which says so.
func aside(l *lab, which func(name string) bool) {
	must(l.t, os.Mkdir(l.path("aside"), 0o700))
	entries, err := os.ReadDir(l.source)
	must(l.t, err)
	for _, e := range entries {
		if which(e.Name()) {
			must(l.t, os.Rename(filepath.Join(l.source, e.Name()), filepath.Join(l.path("aside"), e.Name())))
		}
	}
}

// back is the reverse of aside.
func back(l *lab) {
	entries, err := os.ReadDir(l.path("aside"))
	must(l.t, err)
	for _, e := range entries {
		must(l.t, os.Rename(filepath.Join(l.path("aside"), e.Name()), filepath.Join(l.source, e.Name())))
	}
	must(l.t, os.Remove(l.path("aside")))
}

// TestLostKeyFile: the vault's configuration is restored from the copy in the
// state folder, else from the vault, and never made anew.
func TestLostKeyFile(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	key := filepath.Join(l.source, gocryptfs.ReverseConfigName)
	inVault := filepath.Join(l.vault, gocryptfs.ConfigName)
	state := filepath.Join(l.home, ".local", "state", "fuseless")
	original, err := os.ReadFile(key)
	must(t, err)
	restored := func(from string) {
		t.Helper()
		if b, err := os.ReadFile(key); err != nil || !bytes.Equal(b, original) {
			t.Fatalf("from %s came another configuration (%v)", from, err)
		}
		// The file is new, and so are its times and its folder's, nothing else.
		if r := l.last(); r.Literal != 0 || r.Created != 0 || r.Deleted != 0 || r.Held != 0 {
			t.Errorf("from %s: %+v", from, r)
		}
	}

	must(t, os.Remove(key))
	l.server.Refuse(true) // it is not asked for
	l.ok("init")
	l.server.Refuse(false)
	l.ok("backup")
	restored("the copy")

	must(t, os.Remove(key))
	must(t, os.RemoveAll(state))
	l.ok("backup")
	restored("the vault")

	must(t, os.Remove(key))
	must(t, os.RemoveAll(state))
	l.server.Refuse(true)
	for _, target := range []string{"init", "backup"} {
		l.refused(proto.Remote, []string{target})
	}
	l.server.Refuse(false)
	gone(t, key)

	before := snapshot(t, l.remote)
	must(t, os.Rename(inVault, l.path("aside")))
	for _, target := range []string{"init", "backup"} {
		l.refused(proto.Vault, []string{target}, "holds other files and no vault")
	}
	gone(t, key)
	must(t, os.Rename(l.path("aside"), inVault))
	l.kept("afterwards", before)
	l.ok("init")
	l.ok("backup")
	restored("the vault again")
	l.sameAsSource()
}

func gone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Fatalf("%s is there (%v)", path, err)
	}
}
