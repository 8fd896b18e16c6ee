package webdav

import (
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
	write(t, "old", root, "f")
	d, err := NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := serve(t, d, false)
	big := strings.Repeat("x", 1<<20)
	s.do("PUT", "/f", strings.NewReader(big)).want(t, 507)
	s.do("PUT", "/new", strings.NewReader(big)).want(t, 507)
	if ls(t, root) != "f" || read(t, root, "f") != "old" {
		t.Errorf("%q in %s", read(t, root, "f"), ls(t, root))
	}
	s.do("PUT", "/f", strings.NewReader("fits")).want(t, 204)
}

// What cannot be removed is there again, under its name, and who asked is told.
func TestFailedDelete(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "d", "f")
	mounted := filepath.Join(root, "d", "mounted")
	if err := os.Mkdir(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", mounted, "tmpfs", 0, ""); err != nil {
		t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(mounted, 0) })
	s := serve(t, newDir(t, root), false)
	if res := s.do("DELETE", "/d", nil); res.StatusCode < 400 {
		t.Errorf("%d, though a part cannot be removed", res.StatusCode)
	}
	if got := ls(t, root) + "|" + ls(t, root+"/d"); got != "d|mounted" {
		t.Errorf("there is %s", got)
	}
}
