package webdav

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Two clients at once on one file: the second is told, and what the first saved stays.

func TestTwoDavfs2(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	a := newDavfs2(t, s)
	a.put("f", "line 1\n")
	s.unlocked("/f")
	b := newDavfs2(t, s) // it sees what is there when it looks first
	if got := b.get("f"); got != "line 1\n" {
		t.Fatalf("read %q", got)
	}
	f, err := os.OpenFile(a.at("f"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("line 2, by the first\n"); err != nil {
		t.Fatal(err)
	}
	// Open to be written is locked (davfs2.conf(5), use_locks).
	for what, try := range map[string]func() error{
		"appending":   func() error { return add(b.at("f"), "by the second\n") },
		"overwriting": func() error { return os.WriteFile(b.at("f"), []byte("by the second\n"), 0o644) },
		"deleting":    func() error { return os.Remove(b.at("f")) },
		"renaming":    func() error { return os.Rename(b.at("f"), b.at("g")) },
	} {
		if err := try(); err == nil {
			t.Errorf("%s: the second was not refused", what)
		}
	}
	a.done(f.Close())
	s.unlocked("/f")
	if got := read(t, root, "f"); got != "line 1\nline 2, by the first\n" || ls(t, root) != "f" {
		t.Errorf("%q, in %s", got, ls(t, root))
	}
	// Now it may, but must not begin with what it had read before.
	b.adds(root, "line 1\nline 2, by the first\n", "line 3, by the second\n")
}

// adds appends to f, which is on the server as is says. davfs2 looks for a newer version of
// a file once a second (davfs2.conf(5), file_refresh): it has added to that, or it was
// refused, and the person finds what davfs2 keeps.
func (d davfs2) adds(root, is, more string) {
	d.t.Helper()
	d.done(add(d.at("f"), more))
	lost, got := d.lose(), read(d.t, root, "f")
	if len(lost) == 0 && got == is+more || got == is && strings.HasSuffix(lost["f"], more) {
		return
	}
	d.t.Errorf("there is %q, and kept is %q", got, lost)
}

// unlocked waits until davfs2 has given back the lock on what it has uploaded.
func (s *testServer) unlocked(name string) {
	s.t.Helper()
	const discover = `<D:propfind xmlns:D="DAV:"><D:prop><D:lockdiscovery/></D:prop></D:propfind>`
	if !eventually(func() bool {
		res := s.do("PROPFIND", name, strings.NewReader(discover), "Depth: 0").want(s.t, 207)
		return strings.Contains(res.body, "lockdiscovery") && !strings.Contains(res.body, "activelock")
	}) {
		s.t.Errorf("%s stays locked", name)
	}
}

func add(file, data string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// One that locks, and one that asks under conditions.
func TestDavfs2AndCurl(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	c := newCurl(t, s)
	c.put("f", "by curl\n")
	d := newDavfs2(t, s)
	seen := c.header("f", "ETag")
	upload := func(more ...string) []string {
		return append([]string{"--upload-file", c.file("by curl again\n")}, more...)
	}
	f, err := os.OpenFile(d.at("f"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("by davfs2\n"); err != nil {
		t.Fatal(err)
	}
	c.want("423", "f", upload()...)
	c.want("423", "f", upload("--header", "If-Match: "+seen)...)
	c.want("423", "f", "--request", "DELETE")
	c.want("423", "f", "--request", "MOVE", "--header", "Destination: "+c.s.URL+"/g")
	d.done(f.Close())
	s.unlocked("/f")
	if got := read(t, root, "f"); got != "by davfs2\n" {
		t.Errorf("after davfs2 saved: %q", got)
	}
	c.want("412", "f", upload("--header", "If-Match: "+seen)...)
	if got := read(t, root, "f"); got != "by davfs2\n" || ls(t, root) != "f" {
		t.Errorf("after curl was refused: %q, in %s", got, ls(t, root))
	}
	c.want("204", "f", upload("--header", "If-Match: "+c.header("f", "ETag"))...)
	// davfs2 knows the file as it was. It must not save over the new one unseen.
	d.adds(root, "by curl again\n", "and davfs2\n")
}

// cadaver locks what it edits, gets it, and puts what the editor has made of it. Meanwhile
// nobody else may.
func TestCadaverEdits(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	c, other := newCadaver(t, s), newCurl(t, s)
	c.put("f.txt", "first\n")
	put := other.args("f.txt", "--upload-file", other.file("by curl\n"), "--output", os.DevNull, "--write-out", "%{http_code}")
	editor := filepath.Join(c.home, "editor")
	script := "#!/bin/sh\n'" + strings.Join(put, "' '") + "' >status && echo second >>\"$1\" && touch -d tomorrow \"$1\"\n" // it looks at the seconds
	if err := os.WriteFile(editor, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	c.env = append(c.env, "EDITOR="+editor)
	said := c.session("edit f.txt")
	if got := read(t, c.home, "status"); got != "423" {
		t.Errorf("the other one was answered %q: %s", got, said)
	}
	if got := read(t, root, "f.txt"); got != "first\nsecond\n" || ls(t, root) != "f.txt" {
		t.Errorf("there is %q, in %s: %s", got, ls(t, root), said)
	}
	other.want("204", "f.txt", "--upload-file", other.file("by curl\n")) // unlocked
}

// davfs2 believes for a while what it knows of a folder, and makes what is there already.
// That must not replace it; the person is told where the other version lies.
func TestDavfs2MakesWhatIsThere(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	d, c := newDavfs2(t, s), newCurl(t, s)
	if _, err := os.ReadDir(d.dir); err != nil { // it is empty, and remembered so
		t.Fatal(err)
	}
	c.put("f", "by curl\n")
	err := os.WriteFile(d.at("f"), []byte("by davfs2\n"), 0o644)
	if lost := d.lose(); err == nil && lost["f"] != "by davfs2\n" {
		t.Errorf("nobody was told; kept is %q", lost)
	}
	if got := read(t, root, "f"); got != "by curl\n" || ls(t, root) != "f" {
		t.Errorf("there is %q, in %s", got, ls(t, root))
	}
}
