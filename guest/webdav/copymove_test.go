package webdav

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"
)

func TestMoveAndCopyRefuseBeforeTheyDelete(t *testing.T) {
	for _, method := range []string{"MOVE", "COPY"} {
		s, root := serveDir(t, false)
		write(t, "x", root, "a", "x")
		write(t, "y", root, "a", "b", "y")
		write(t, "z", root, "c", "z")
		for link, target := range map[string]string{"la": "a", "c/lc": "../a"} {
			if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			src, dst string
			status   int
		}{
			{"/a/x", "/a", 403}, {"/a/b/y", "/a/b", 403}, {"/a/b/y", "/a", 403}, {"/a", "/a/b", 403}, {"/a", "/a/b/new", 403}, {"/a", "/a", 403}, {"/a", "/a/", 403},
			{"/a/x", "/a/x", 403}, {"/a/x", "/a/./x", 403}, {"/a/x", "/", 403}, {"/", "/a/new", 403},
			{"/a", "/la/new", 403}, {"/a", "/c/lc/b/new", 403}, {"/a/x", "/la/x", 403}, {"/la/x", "/a", 403},
			{"/none", "/c", 404}, {"/none", "/c/z", 404}, {"/a", "/none/new", 409}, {"/a/x", "/c/z/new", 409},
			{"/a/x", "/c/%00", 400}, {"/a/x", "", 400}, {"/a/x", "c", 400}, {"/a/x", "http://localhost:1/c", 502},
		} {
			for _, overwrite := range []string{"Overwrite: T", "X: y"} {
				s.do(method, c.src, nil, "Destination: "+c.dst, overwrite).want(t, c.status)
			}
		}
		if read(t, root, "a", "x")+read(t, root, "a", "b", "y")+read(t, root, "c", "z") != "xyz" {
			t.Error("something is lost")
		}
		if got := ls(t, root) + ls(t, root+"/a") + ls(t, root+"/c"); got != "a c lab xlc z" {
			t.Errorf("there is %s", got)
		}
	}
}

func TestMoveAndCopy(t *testing.T) {
	for _, method := range []string{"MOVE", "COPY"} {
		s, root := serveDir(t, false)
		write(t, "1", root, "f")
		write(t, "2", root, "g")
		write(t, "3", root, "d", "e", "h")
		s.do(method, "/f", nil, "Destination: /g", "Overwrite: F").want(t, 412)
		// The default of Overwrite is T; macOS never sends it.
		s.do(method, "/f", nil, "Destination: "+s.URL+"/g").want(t, 204)
		s.do(method, "/d", nil, "Destination: /new%20one/").want(t, 201)
		if read(t, root, "g")+read(t, root, "new one", "e", "h") != "13" {
			t.Error("the contents are wrong")
		}
		s.do(method, "/new%20one", nil, "Destination: /g").want(t, 204)
		if read(t, root, "g", "e", "h") != "3" {
			t.Error("a folder did not replace a file")
		}
		want := map[string]string{"MOVE": "g", "COPY": "d f g new one"}[method]
		if got := ls(t, root); got != want {
			t.Errorf("%s leaves %s, want %s", method, got, want)
		}
	}
}

func TestFailedCopyLeavesTheDestination(t *testing.T) {
	root := t.TempDir()
	write(t, strings.Repeat("n", 1<<21), root, "src")
	write(t, "old", root, "dst")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, false)
	f.set(faults{onOpen: func(_ string, g File) (File, error) { return &faultyFile{g, 1 << 20, syscall.EIO}, nil }})
	s.do("COPY", "/src", nil, "Destination: /dst").want(t, 500)
	f.set(faults{onWrite: func(u Upload) Upload { return &faultyUpload{Upload: u, onWrite: syscall.ENOSPC} }})
	s.do("COPY", "/src", nil, "Destination: /dst").want(t, 507)
	if read(t, root, "dst") != "old" || ls(t, root) != "dst src" {
		t.Errorf("%q in %s", read(t, root, "dst"), ls(t, root))
	}
}

func TestMoveBetweenHardLinks(t *testing.T) {
	s, root := serveDir(t, false)
	write(t, "x", root, "a")
	if err := os.Link(root+"/a", root+"/b"); err != nil {
		t.Fatal(err)
	}
	s.do("MOVE", "/a", nil, "Destination: /b").want(t, 403)
	if ls(t, root) != "a b" || read(t, root, "b") != "x" {
		t.Errorf("there is %s", ls(t, root))
	}
}

// A file that has other names, by way of links, is not lost when one takes the place of another.
func TestMoveOfLinks(t *testing.T) {
	s, root := serveDir(t, false)
	write(t, "x", root, "a", "x")
	write(t, "f", root, "f")
	for link, to := range map[string]string{"la": "a", "lf": "f"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ src, dst string }{{"/la/x", "/a/x"}, {"/a/x", "/la/x"}, {"/lf", "/f"}, {"/f", "/lf"}, {"/la", "/a"}, {"/lf", "/a/lf"}} {
		for _, overwrite := range []string{"Overwrite: T", "X: y"} {
			s.do("MOVE", c.src, nil, "Destination: "+c.dst, overwrite).want(t, 403)
		}
	}
	if got := read(t, root, "a", "x") + read(t, root, "f") + ls(t, root) + ls(t, root+"/a"); got != "xfa f la lfx" {
		t.Errorf("there is %s", got)
	}
	s.do("MOVE", "/lf", nil, "Destination: /renamed").want(t, 201)
	if to, err := os.Readlink(root + "/renamed"); err != nil || to != "f" {
		t.Errorf("the link has become %q (%v)", to, err)
	}
}

// A copy of what is private is private, also while it is made.
func TestCopyKeepsModes(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "d", "sub", "f")
	write(t, "y", root, "secret")
	for name, mode := range map[string]os.FileMode{"d": 0o700, "d/sub": 0o500, "d/sub/f": 0o644, "secret": 0o600} {
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { // for who removes it
		os.Chmod(filepath.Join(root, "d/sub"), 0o700)
		os.Chmod(filepath.Join(root, "copy/sub"), 0o700)
	})
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, false)
	f.set(faults{onWrite: func(u Upload) Upload {
		names, _ := filepath.Glob(filepath.Join(root, ".fuseless-*"))
		for _, n := range names {
			if fi, err := os.Stat(n); err != nil || fi.Mode().Perm()&0o077 != 0 {
				t.Errorf("on its way it is %v (%v)", fi.Mode(), err)
			}
		}
		return u
	}})
	s.do("COPY", "/d", nil, "Destination: /copy").want(t, 201)
	s.do("PUT", "/secret", strings.NewReader("z")).want(t, 204)
	s.do("COPY", "/secret", nil, "Destination: /other").want(t, 201)
	for name, mode := range map[string]os.FileMode{"copy": 0o700, "copy/sub": 0o500, "copy/sub/f": 0o644, "secret": 0o600, "other": 0o600} {
		if fi, err := os.Stat(filepath.Join(root, name)); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v, not %v (%v)", name, fi.Mode(), mode, err)
		}
	}
}

// A copy is of one version of a file, or none.
func TestCopyOfAChangingFile(t *testing.T) {
	root := t.TempDir()
	write(t, "old", root, "f")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, false)
	f.set(faults{onOpen: func(_ string, g File) (File, error) {
		put(t, filepath.Join(root, "f"), "new") // in place, as long as before
		later := time.Now().Add(time.Hour)
		return g, os.Chtimes(filepath.Join(root, "f"), later, later)
	}})
	s.do("COPY", "/f", nil, "Destination: /copy").want(t, 503)
	f.set(faults{})
	if got := ls(t, root); got != "f" {
		t.Errorf("there is %s", got)
	}
}

func TestCopyDoesNotFollowLinksToFolders(t *testing.T) {
	s, root := serveDir(t, false)
	write(t, "x", root, "tree", "sub", "f")
	os.Symlink("sub", root+"/tree/link")
	if res := s.do("COPY", "/tree", nil, "Destination: /copy").want(t, 403); !strings.Contains(res.body, "symbolic link") {
		t.Errorf("got %s", res.body)
	}
}

// What is replaced stays as it is until all of what replaces it is there, also where folders
// are replaced, which no file system does at once.
func TestFailedReplacementLeavesTheDestination(t *testing.T) {
	for _, c := range []struct{ src, dst string }{{"/tree", "/old"}, {"/tree", "/file"}, {"/big", "/old"}} {
		root := t.TempDir()
		write(t, "x", root, "tree", "a", "f")
		write(t, "y", root, "tree", "b", "g")
		write(t, "z", root, "big")
		write(t, "old", root, "old", "sub", "f")
		write(t, "old", root, "file")
		f := &fakeFS{Dir: newDir(t, root)}
		s := serve(t, f, false)
		whole := func() string {
			return ls(t, root) + "|" + ls(t, root+"/old") + "|" + read(t, root, "old", "sub", "f") + read(t, root, "file")
		}
		before := whole()
		n := 0
		f.set(faults{onWrite: func(u Upload) Upload {
			if n++; n == 2 || c.src == "/big" {
				return &faultyUpload{Upload: u, onWrite: syscall.ENOSPC}
			}
			return u
		}})
		s.do("COPY", c.src, nil, "Destination: "+c.dst).want(t, 507)
		f.set(faults{onReadDir: func(infos []fs.FileInfo) ([]fs.FileInfo, error) {
			if len(infos) == 1 { // not that of the folder itself
				return nil, syscall.EIO
			}
			return infos, nil
		}})
		if c.src == "/tree" {
			s.do("COPY", c.src, nil, "Destination: "+c.dst).want(t, 500)
		}
		f.set(faults{})
		s.do("COPY", c.src, nil, "Destination: "+c.dst, "Overwrite: F").want(t, 412)
		s.do("MOVE", c.src, nil, "Destination: "+c.dst, "Overwrite: F").want(t, 412)
		if after := whole(); after != before {
			t.Errorf("%s to %s: it was %s and is %s", c.src, c.dst, before, after)
		}
		for _, method := range []string{"COPY", "MOVE"} {
			s.do(method, c.src, nil, "Destination: "+c.dst).want(t, 204)
		}
		got := ls(t, root)
		if c.src == "/tree" {
			got += "|" + read(t, root, c.dst, "a", "f") + read(t, root, c.dst, "b", "g") + ls(t, filepath.Join(root, c.dst))
		} else {
			got += "|" + read(t, root, c.dst)
		}
		want := map[string]string{"/tree/old": "big file old|xya b", "/tree/file": "big file old|xya b", "/big/old": "file old tree|z"}[c.src+c.dst]
		if got != want {
			t.Errorf("%s to %s: there is %s, not %s", c.src, c.dst, got, want)
		}
	}
}

// Depth 0 copies a folder alone; MOVE knows no such thing (RFC 4918 9.8.3, 9.9.3).
func TestCopyDepth(t *testing.T) {
	s, root := serveDir(t, false)
	write(t, "x", root, "d", "f")
	s.do("COPY", "/d", nil, "Destination: /alone", "Depth: 0").want(t, 201)
	s.do("COPY", "/d", nil, "Destination: /all", "Depth: infinity").want(t, 201)
	s.do("COPY", "/d", nil, "Destination: /no", "Depth: 1").want(t, 400)
	s.do("MOVE", "/d", nil, "Destination: /no", "Depth: 0").want(t, 400)
	if got := ls(t, root) + "|" + ls(t, root+"/alone") + "|" + ls(t, root+"/all"); got != "all alone d||f" {
		t.Errorf("there is %s", got)
	}
}

// What cannot be copied is not left out, but the reason why nothing is.
func TestCopyOfWhatIsHidden(t *testing.T) {
	for _, to := range []string{"none", "../..", "/etc"} {
		s, root := serveDir(t, false)
		write(t, "x", root, "tree", "sub", "f")
		if err := os.Symlink(to, root+"/tree/sub/link"); err != nil {
			t.Fatal(err)
		}
		if res := s.do("COPY", "/tree", nil, "Destination: /copy").want(t, 403); !strings.Contains(res.body, "tree/sub/link") {
			t.Errorf("%s: %s", to, res.body)
		}
		s.do("COPY", "/tree", nil, "Destination: /alone", "Depth: 0").want(t, 201)
		s.do("MOVE", "/tree", nil, "Destination: /moved").want(t, 201)
		if got := ls(t, root) + "|" + ls(t, root+"/moved/sub"); got != "alone moved|f link" {
			t.Errorf("%s: there is %s", to, got)
		}
	}
}

// A destination that comes into being in another form while the copy is made is no twin then.
func TestTwinDuringCopy(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "f")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, false)
	f.set(faults{onWrite: func(u Upload) Upload {
		write(t, "theirs", root, norm.NFD.String("é"))
		return u
	}})
	s.do("COPY", "/f", nil, "Destination: /"+url.PathEscape(norm.NFC.String("é"))).want(t, 409)
	if got := ls(t, root); got != norm.NFD.String("é")+" f" {
		t.Errorf("there is %q", got)
	}
}
