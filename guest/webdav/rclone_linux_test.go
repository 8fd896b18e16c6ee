package webdav

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"
)

// rclone is rclone(1) with its webdav backend, which sends X-OC-Mtime to what it takes
// for ownCloud (rclone.org/webdav).
type rclone struct{ *program }

func newRclone(t *testing.T, s *testServer) rclone {
	t.Helper()
	c := rclone{newProgram(t, s, "rclone")}
	obscured := strings.TrimSpace(c.run(testPassword, "rclone", "obscure", "-"))
	conf := fmt.Sprintf("[view]\ntype = webdav\nvendor = owncloud\nurl = %s/\nuser = %s\npass = %s\n", s.URL, testUser, obscured)
	if err := os.WriteFile(filepath.Join(c.home, "rclone.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// does runs rclone once: what fails is not tried again. It tells what it did.
func (c rclone) does(args ...string) (stdout, log string) {
	c.t.Helper()
	stdout, log, err := c.attempt(args...)
	if err != nil {
		c.t.Fatalf("rclone %q: %v\n%s\nthe server: %s", args, err, log, c.s.log)
	}
	return stdout, log
}

func (c rclone) attempt(args ...string) (stdout, log string, err error) {
	c.t.Helper()
	argv := []string{"rclone", "--config", filepath.Join(c.home, "rclone.conf"), "--retries", "1", "--low-level-retries", "1", "--verbose"}
	return c.try("", append(argv, args...)...)
}

func (c rclone) put(name, data string) {
	c.does("copyto", "--ignore-times", c.file(data), "view:"+name)
}
func (c rclone) mkdir(name string)      { c.does("mkdir", "view:"+name) }
func (c rclone) move(from, to string)   { c.does("moveto", "view:"+from, "view:"+to) }
func (c rclone) remove(name string)     { c.does("deletefile", "view:"+name) }
func (c rclone) removeAll(name string)  { c.does("purge", "view:"+name) }
func (c rclone) get(name string) string { s, _ := c.does("cat", "view:"+name); return s }

func TestRclone(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	edit(t, root, newRclone(t, s))
}

// A folder is synchronised both ways, with modification times, so that the next time
// nothing is sent that has not changed.
func TestRcloneSync(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	c := newRclone(t, s)
	box := filepath.Join(root, "box")
	local := filepath.Join(c.home, "local")
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	names := append([]string{path.Join(norm.NFD.String("Ordner für Ä"), "100% #.txt"), "a/b/c/deep"}, clientNames...)
	for i, name := range names {
		write(t, strings.Repeat(name, 1000*i), local, name) // the first is empty
		if err := os.Chtimes(filepath.Join(local, name), old, old.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	equal := func(a, b string) {
		t.Helper()
		here, there := treeIn(t, a), treeIn(t, b)
		if !maps.Equal(here, there) {
			t.Fatalf("%s holds\n%sand %s\n%s", a, here.tell(), b, there.tell())
		}
		for name, data := range here {
			if data == "/" {
				continue // rclone sets no folder's time
			}
			x, err := os.Stat(filepath.Join(a, name))
			if err != nil {
				t.Fatal(err)
			}
			y, err := os.Stat(filepath.Join(b, name))
			if err != nil {
				t.Fatal(err)
			}
			if x.ModTime().Unix() != y.ModTime().Unix() {
				t.Errorf("%s: %v and %v", name, x.ModTime(), y.ModTime())
			}
		}
	}
	nothing := func(args ...string) {
		t.Helper()
		if _, log := c.does(args...); !strings.Contains(log, "There was nothing to transfer") {
			t.Errorf("rclone %q did something again:\n%s", args, log)
		}
	}
	c.does("copy", local, "view:box")
	equal(local, box)
	nothing("sync", local, "view:box")
	c.does("check", "--download", local, "view:box")

	// One is changed to the same size, one goes, one comes: the time alone tells the first.
	first := filepath.Join(local, names[1])
	was := read(t, first)
	write(t, strings.ToUpper(was), first)
	if err := os.Remove(filepath.Join(local, names[2])); err != nil {
		t.Fatal(err)
	}
	write(t, "new", local, "a/new.txt")
	if _, _, err := c.attempt("check", "--download", local, "view:box"); err == nil {
		t.Error("rclone check does not see what has changed")
	}
	c.does("sync", local, "view:box")
	equal(local, box)
	c.does("check", "--download", local, "view:box")

	// The other way: what was changed on the server is fetched, with its time.
	write(t, "changed there", box, names[1])
	if err := os.Chtimes(filepath.Join(box, names[1]), old, old.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	c.does("sync", "view:box", local)
	equal(box, local)
	nothing("sync", "view:box", local)
	back := filepath.Join(c.home, "back")
	c.does("copy", "view:box", back)
	equal(box, back)

	// Moved there and back, nothing stays where it was.
	whole := treeIn(t, local)
	c.does("move", "--delete-empty-src-dirs", "view:box", "view:moved to/here")
	if got := treeIn(t, filepath.Join(root, "moved to", "here")); !maps.Equal(got, whole) {
		t.Errorf("moved there is\n%s, not\n%s", got.tell(), whole.tell())
	}
	got := filepath.Join(c.home, "got")
	c.does("move", "--delete-empty-src-dirs", "view:moved to/here", got)
	if here, left := treeIn(t, got), treeIn(t, root); !maps.Equal(here, whole) || left.hasFile() {
		t.Errorf("moved back is\n%s, left is\n%s", here.tell(), left.tell())
	}
}

// hasFile reports whether x has a file.
func (x tree) hasFile() bool {
	for _, data := range x {
		if data != "/" {
			return true
		}
	}
	return false
}
