package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// asNobody runs the test again in a process without root's rights, for which
// modes bind. It returns true in the process that has nothing left to do.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		return false
	}
	dir, err := os.MkdirTemp("", "store-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	// go test's own folder is closed to others.
	bin := filepath.Join(dir, "store.test")
	if err := os.WriteFile(bin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(dir, "tmp")
	if err := errors.Join(os.Mkdir(tmp, 0o700), os.Chown(tmp, 65534, 65534), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(bin, "-test.run=^"+t.Name()+"$", "-test.v")
	c.Dir = tmp
	c.Env = []string{"TMPDIR=" + tmp, "HOME=" + tmp}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
	return true
}

func write(t *testing.T, p string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(p), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A deleted file never replaces one that is in the trash already.
func TestMoveNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	vault, trash := filepath.Join(dir, "vault"), filepath.Join(dir, "trash")
	for _, p := range []string{"vault/d/new", "vault/d/both", "trash/d/both", "vault/f", "trash/f"} {
		write(t, filepath.Join(dir, p))
	}
	if err := Move(t.Context(), local{}, vault, trash, []string{"d", "f", "vanished"}); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{
		"d/new": "vault/d/new", "d/both": "trash/d/both", "d/both.1": "vault/d/both", "f": "trash/f", "f.1": "vault/f",
	} {
		b, err := os.ReadFile(filepath.Join(trash, p))
		if err != nil || string(b) != filepath.Join(dir, want) {
			t.Errorf("%s: %q, %v", p, b, err)
		}
	}
	if left, _ := os.ReadDir(vault); len(left) != 0 {
		t.Errorf("left in the vault: %v", left)
	}
}

// A vault carries the source's modes. On a remote where we are not root a
// folder of mode 0555 must not keep what is deleted in it from being moved.
func TestMoveFromFoldersThatMayNotBeWritten(t *testing.T) {
	if asNobody(t) {
		return
	}
	dir := t.TempDir()
	vault, trash := filepath.Join(dir, "vault"), filepath.Join(dir, "trash")
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("ro/f%d", i))
		write(t, filepath.Join(vault, names[i]))
	}
	write(t, filepath.Join(vault, "ro/sub/x"))
	write(t, filepath.Join(vault, "ro/stays"))
	names = append(names, "ro/sub")
	for _, p := range []string{"ro/sub", "ro"} {
		if err := os.Chmod(filepath.Join(vault, p), 0o555); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(vault, "ro"), 0o755) })
	if err := Move(t.Context(), local{}, vault, trash, names); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(vault, "ro")); len(left) != 1 || left[0].Name() != "stays" {
		t.Errorf("left: %v", left)
	}
	for _, p := range []string{filepath.Join(vault, "ro"), filepath.Join(trash, "ro/sub")} {
		if fi, err := os.Stat(p); err != nil || fi.Mode().Perm() != 0o555 {
			t.Errorf("mode of %s: %v %v", p, fi, err)
		}
	}
	if err := RemoveAll(t.Context(), local{}, trash); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(trash); !os.IsNotExist(err) {
		t.Errorf("the trash is still there: %v", err)
	}
}
