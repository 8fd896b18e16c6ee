//go:build linux

package ops

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"fuseless/guest/proto"
)

// Where the runtime folder's file system is full, that is what is said, and no
// part of a file is left: it may hold a session's password.
func TestFullRuntimeFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("fuseless-test", dir, "tmpfs", 0, "size=8k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Unmount(dir, 0) }()
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	long := string(bytes.Repeat([]byte("x"), 6000)) // its first page fits
	err := writeJSON(filepath.Join(dir, "webdav.json"), sessionFile{Password: long})
	e, ok := err.(*proto.Error)
	if !ok || e.Code != proto.NoSpace || e.Hint == "" {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}
