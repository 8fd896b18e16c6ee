package chain

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree describes a folder, so that two can be compared.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		what := ""
		switch fi.Mode().Type() {
		case fs.ModeSymlink:
			what, _ = os.Readlink(p)
		case 0:
			b, _ := os.ReadFile(p)
			what = string(b)
		}
		when := fi.ModTime().UnixNano()
		if rel == "." {
			when = 0
		}
		lines = append(lines, fmt.Sprintf("%s %v %d %q", rel, fi.Mode(), when, what))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// moved is mover.tree, with what it kept.
func moved(ctx context.Context, from, to string) (int64, error) {
	m := mover{links: map[inode]string{}}
	err := m.tree(ctx, from, to)
	return m.kept, err
}

// sample makes what a restore leaves in its own folder.
func sample(t *testing.T, dir string) {
	t.Helper()
	old := time.Unix(1e9, 123456789)
	for _, d := range []string{"", "sub", "sub/closed"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]fs.FileMode{"a": 0o600, "sub/b c": 0o444, "sub/closed/d": 0o640} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte("restored "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "hard link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("no/where", filepath.Join(dir, "sub/link")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"sub/closed", "sub"} {
		p := filepath.Join(dir, d)
		if err := os.Chmod(p, 0o550); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, old, old); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, d := range []string{"sub", "sub/closed"} {
			_ = os.Chmod(filepath.Join(dir, d), 0o700)
		}
	})
}

// On another file system everything is copied, with modes and times; here the
// other one is in memory.
func TestMoveToAnotherFileSystem(t *testing.T) {
	mem, err := os.MkdirTemp("/dev/shm", "fl-")
	if err != nil {
		t.Skipf("there is no second file system: %v", err)
	}
	defer func() { _ = removeTree(mem) }()
	from := filepath.Join(t.TempDir(), "from")
	sample(t, from)
	want := tree(t, from)
	to := filepath.Join(mem, "to")
	kept, err := moved(context.Background(), from, to)
	if err != nil || kept != 0 {
		t.Fatalf("%d kept, %v", kept, err)
	}
	// A link keeps its time only where the system lets us set it.
	if got := tree(t, to); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := removeTree(from); err != nil {
		t.Errorf("what was moved cannot be removed: %v", err)
	}
}

func TestMoveOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	sample(t, from)
	for name, content := range map[string]string{"a": "mine", "sub/b c": "mine too", "other": "mine as well"} {
		p := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := moved(context.Background(), from, to)
	if err != nil || kept != 2 {
		t.Fatalf("%d kept, %v", kept, err)
	}
	for name, content := range map[string]string{"a": "mine", "sub/b c": "mine too", "other": "mine as well", "sub/closed/d": "restored sub/closed/d"} {
		if b, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(b) != content {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if l, err := os.Readlink(filepath.Join(to, "sub/link")); err != nil || l != "no/where" {
		t.Errorf("link: %q, %v", l, err)
	}
	t.Cleanup(func() { _ = removeTree(to) })
}

func TestMoveGoesOn(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	sample(t, from)
	want := tree(t, from)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := moved(ended, from, to); err == nil {
		t.Error("an ended context does not end it")
	}
	if kept, err := moved(context.Background(), from, to); err != nil || kept != 0 {
		t.Fatalf("%d kept, %v", kept, err)
	}
	if got := tree(t, to); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	t.Cleanup(func() { _ = removeTree(to) })
}
