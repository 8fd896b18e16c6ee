//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is made as the user is the user's, and this process stays what it is.
func TestDoAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	dir, err := os.MkdirTemp("", "fle2e-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	a := &account{uid: 12345, gid: 54321, made: true}
	if err := a.own(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	err = a.do(func() error {
		if _, err := os.ReadFile("/etc/shadow"); err == nil {
			t.Error("the user can read what is root's")
		}
		return os.WriteFile(file, nil, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(file, &st); err != nil || st.Uid != 12345 || st.Gid != 54321 {
		t.Errorf("the file is %d:%d's, %v", st.Uid, st.Gid, err)
	}
	if os.Geteuid() != 0 {
		t.Error("this process is somebody else now")
	}
}
