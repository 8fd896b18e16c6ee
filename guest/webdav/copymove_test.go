package webdav

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
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
			if c.src == "/a/x" && c.dst == "/la/x" && method == "MOVE" {
				continue // the same file by two names, like a hard link
			}
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
	s.do("MOVE", "/a", nil, "Destination: /b").want(t, 204)
	if ls(t, root) != "b" || read(t, root, "b") != "x" {
		t.Errorf("there is %s", ls(t, root))
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
