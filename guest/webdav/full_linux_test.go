package webdav

import (
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDiskFull fills a real file system.
func TestDiskFull(t *testing.T) {
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(root, 0) })
	half := strings.Repeat("h", 150<<10)
	write(t, "old", root, "f")
	write(t, "old", root, "old", "sub", "f")
	write(t, "x", root, "tree", "first")
	write(t, half, root, "tree", "sub", "half")
	d, err := NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := serve(t, d, false)
	before := treeIn(t, root)
	big := strings.Repeat("x", 1<<20)
	for _, name := range []string{"/f", "/new", "/old/new", "/old/sub/f"} {
		s.do("PUT", name, strings.NewReader(big)).want(t, 507)
		s.do("PUT", name, struct{ io.Reader }{strings.NewReader(big)}).want(t, 507) // of unknown length
	}
	for src, destinations := range map[string][]string{"/tree/sub/half": {"/f", "/new", "/old", "/old/sub/f"}, "/tree": {"/f", "/new", "/old", "/old/new"}} {
		for _, dst := range destinations {
			s.do("COPY", src, nil, "Destination: "+dst).want(t, 507)
		}
	}
	stays := func() {
		t.Helper()
		if after := treeIn(t, root); !maps.Equal(after, before) {
			t.Errorf("on a full disk there is now %q, and no longer %q", after.differs(before), before.differs(after))
		}
	}
	stays()
	filler := filepath.Join(root, "filler")
	if err := os.WriteFile(filler, []byte(big), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	before = treeIn(t, root)
	s.do("PUT", "/f", strings.NewReader("x")).want(t, 507)
	s.do("MOVE", "/tree", nil, "Destination: /old").want(t, 507) // no room to note what is set aside
	stays()
	// What needs no room is done, or nobody could make any.
	s.do("MOVE", "/tree/first", nil, "Destination: /f").want(t, 204)
	s.do("DELETE", "/filler", nil).want(t, 204)
	s.do("DELETE", "/old", nil).want(t, 204)
	if got := ls(t, root) + read(t, root, "f"); got != "f treex" {
		t.Errorf("there is %s", got)
	}
	s.do("PUT", "/f", strings.NewReader("fits")).want(t, 204)
}

// What cannot be removed is there again, under its name, and who asked is told.
func TestFailedDelete(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "x", "d", "f")
	mounted := filepath.Join(root, "x", "d", "mounted")
	if err := os.Mkdir(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", mounted, "tmpfs", 0, ""); err != nil {
		t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() {
		at, _ := filepath.Glob(filepath.Join(root, "*", "*", "mounted")) // wherever it is by now
		for _, p := range at {
			_ = syscall.Unmount(p, 0)
		}
	})
	f := &slowRemoval{Dir: newDir(t, root), at: make(chan bool)}
	s := serve(t, f, false)
	ended := make(chan response)
	go func() { ended <- s.do("DELETE", "/x/d", nil) }()
	f.at <- true
	s.do("MOVE", "/x", nil, "Destination: /y").want(t, 201) // it goes along
	f.at <- true
	if res := <-ended; res.StatusCode < 400 {
		t.Errorf("%d, though a part cannot be removed", res.StatusCode)
	}
	if got := ls(t, root) + "|" + ls(t, root+"/y") + "|" + ls(t, root+"/y/d"); got != "y|d|mounted" {
		t.Errorf("there is %s", got)
	}
}
