package webdav

import (
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
