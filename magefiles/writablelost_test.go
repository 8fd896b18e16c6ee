//go:build linux

package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

// TestWritableNotArrived: the server is killed while somebody writes. What did not arrive is
// named, with where it lies.
func TestWritableNotArrived(t *testing.T) {
	t.Parallel()
	l := writableLab(t)
	l.ok("init")
	l.ok("open")
	l.inView(l.mnt, map[string][]byte{"safe": []byte("was uploaded")})
	eventually(t, "safe is in the view", func() bool {
		b, err := os.ReadFile(filepath.Join(l.runDir(), "view", "safe"))
		return err == nil && string(b) == "was uploaded"
	})
	f, err := os.Create(filepath.Join(l.mnt, "lost"))
	must(t, err)
	_, err = f.WriteString("has no server")
	must(t, err)
	l.killed("fuseless-guest", l.runDir()+"/view")
	_ = f.Close() // davfs2 uploads when it returns
	r := l.run("close")
	if r.code != proto.Incomplete || !strings.Contains(r.stderr, "lost") || !strings.Contains(r.stderr, "lie in memory only") {
		t.Errorf("close: %s", r)
	}
	kept := ""
	for line := range strings.Lines(r.stderr) {
		if p := strings.TrimSpace(line); strings.HasPrefix(p, "/") {
			if b, err := os.ReadFile(p); err == nil && string(b) == "has no server" {
				kept = p
			}
		}
	}
	if kept == "" {
		t.Errorf("what did not arrive is not where close says: %s", r)
	} else {
		must(t, os.RemoveAll(keptBelow(kept)))
	}
	if _, err := os.Stat(l.mnt); err == nil {
		t.Errorf("%s is still there", l.mnt)
	}
	l.ok("open")
	// davfs2 puts an empty file when one is made, and what is in it when it is closed.
	l.holds(l.mnt, map[string][]byte{"safe": []byte("was uploaded"), "lost": nil})
	l.ok("close")
}

// keptBelow is the folder in memory that a kept file lies in.
func keptBelow(file string) string {
	for dir := filepath.Dir(file); dir != "/"; dir = filepath.Dir(dir) {
		if strings.Contains(filepath.Base(dir), "-rw-kept-") {
			return dir
		}
	}
	return file
}

// TestWritableStopped: `down` comes while a large file is being uploaded; it waits for
// the upload, or names the file. Nothing is mixed, and no temporary file is left.
func TestWritableStopped(t *testing.T) {
	t.Parallel()
	l := writableLab(t)
	l.ok("init")
	l.ok("open")
	old, data := bytes.Repeat([]byte("old "), 1<<20), bytes.Repeat([]byte("new "), 16<<20)
	must(t, os.WriteFile(filepath.Join(l.mnt, "film"), old, 0o644))
	must(t, os.WriteFile(filepath.Join(l.mnt, "film"), data, 0o644))
	pid := l.theProcess("fuseless-guest", l.runDir()+"/view")
	r := l.run("down")
	if r.code != proto.OK && r.code != proto.Incomplete {
		t.Errorf("down: %s", r)
	}
	if slices.Contains(processes(l.runDir()+"/view"), pid) {
		t.Error("the server still runs")
	}
	to := l.path("restored")
	l.ok("restore", "-to="+to)
	got := read(t, filepath.Join(to, "film"))
	if whole := bytes.Equal(got, data); !whole && !(bytes.Equal(got, old) && r.code == proto.Incomplete) {
		t.Errorf("after `down`, which said %s, the film has %d bytes", r, len(got))
	}
	if files := filesBelow(to); len(files) != 1 {
		t.Errorf("in the vault: %v", files)
	}
	if r.code == proto.Incomplete {
		for line := range strings.Lines(r.stderr) {
			if p := strings.TrimSpace(line); strings.HasPrefix(p, "/") {
				must(t, os.RemoveAll(keptBelow(p)))
			}
		}
	}
}
