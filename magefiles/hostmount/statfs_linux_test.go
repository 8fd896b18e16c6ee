package hostmount

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFreeSpaceShows has the real server, and what df(1) asks of its mount.
func TestFreeSpaceShows(t *testing.T) {
	needDavfs(t)
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "f"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := ownServer(t, root, true)
	spec := s.spec(t)
	mountForTest(t, spec)

	var want, got unix.Statfs_t
	if err := unix.Statfs(root, &want); err != nil {
		t.Fatal(err)
	}
	if err := unix.Statfs(spec.Mountpoint, &got); err != nil {
		t.Fatal(err)
	}
	// Others use the disk meanwhile. What davfs2 makes up is far off.
	near := func(what string, got, want float64) {
		if math.Abs(got-want) > 0.02*want+1<<30 {
			t.Errorf("%s: %.0f, want %.0f", what, got, want)
		}
	}
	unit := float64(want.Frsize)
	available, used := float64(want.Bavail)*unit, float64(want.Blocks-want.Bfree)*unit
	near("available", float64(got.Bavail)*float64(got.Frsize), available)
	// davfs2 knows of no blocks that are free for root alone.
	near("size", float64(got.Blocks)*float64(got.Frsize), available+used)
	t.Logf("%.1f GiB available of %.1f", available/(1<<30), (available+used)/(1<<30))
}
