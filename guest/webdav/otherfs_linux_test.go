package webdav

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A file system without attributes below the root says nothing of the others.
func TestPropertiesBesideAFileSystemWithout(t *testing.T) {
	s, root, _ := lockServer(t, "f", "proc/x")
	if err := unix.Setxattr(filepath.Join(root, "f"), "user.x", nil, 0); err != nil {
		t.Skip("the file system for temporary files has no extended attributes: ", err)
	}
	if err := unix.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""); err != nil {
		t.Skip("only root can mount: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(filepath.Join(root, "proc"), 0); err != nil {
			t.Error(err)
		}
	})
	const one, two = `<x:one xmlns:x="urn:p"></x:one>`, `<x:two xmlns:x="urn:p"></x:two>`
	s.patch("/f", "<D:set><D:prop><p:one>1</p:one></D:prop></D:set>", map[string]string{"200 OK": one})
	if got := s.has("/proc", "one"); got != "" {
		t.Errorf("there it is %q", got)
	}
	s.patch("/f", "<D:set><D:prop><p:two>2</p:two></D:prop></D:set>", map[string]string{"200 OK": two})
	if s.has("/f", "one") != "1" || s.has("/f", "two") != "2" {
		t.Errorf("one is %q, two is %q", s.has("/f", "one"), s.has("/f", "two"))
	}
	s.patch("/proc", "<D:set><D:prop><p:one>1</p:one></D:prop></D:set>", map[string]string{"403 Forbidden": one})
}
