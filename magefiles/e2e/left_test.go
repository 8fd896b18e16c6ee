//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A new user may get the number of one that was removed, whose files are still
// there: they are neither what a run left nor to be removed.
func TestFilesOfAnEarlierUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving files away needs root")
	}
	const uid = 54399
	give := func() string {
		dir, err := os.MkdirTemp("", "fle2e-left-")
		if err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			err = os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
		}
		for _, p := range []string{dir, filepath.Join(dir, "file")} {
			if err == nil {
				err = os.Lchown(p, uid, uid)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	before := give()
	r := &run{user: &account{uid: uid, made: true, home: t.TempDir()}, out: os.Stderr}
	r.remember()
	if left := r.left(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	after := give()
	if left, want := r.left(), []string{after, filepath.Join(after, "file")}; !slices.Equal(left, want) {
		t.Errorf("left: %q, not %q", left, want)
	}
	r.takeDown(t.Context())
	if _, err := os.Stat(after); !os.IsNotExist(err) {
		t.Errorf("what a failed run left is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(before, "file")); err != nil {
		t.Errorf("what was there before is gone: %v", err)
	}
}
