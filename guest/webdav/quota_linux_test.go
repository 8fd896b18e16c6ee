package webdav

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestQuotaIsOfTheFileSystem(t *testing.T) {
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(root, 0) })
	d, err := NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	write(t, string(make([]byte, 1<<20)), root, "f")
	q, err := d.Quota(t.Context())
	if err != nil || q.Used != 1<<20 || q.Available != 3<<20 {
		t.Errorf("%+v, %v", q, err)
	}
}

func TestQuotaOf(t *testing.T) {
	for _, c := range []struct {
		frsize, bsize, blocks, free, available uint64
		want                                   Quota
		fails                                  bool
	}{
		{4096, 1 << 20, 1000, 400, 300, Quota{300 * 4096, 600 * 4096}, false}, // some of the free is root's
		{0, 512, 10, 5, 5, Quota{2560, 2560}, false},
		{512, 512, 10, 11, 5, Quota{2560, 0}, false},
		{4096, 4096, sshfsMadeUp / 4096, sshfsMadeUp / 4096, sshfsMadeUp / 4096, Quota{}, true},
		{4096, 4096, sshfsMadeUp / 4096, sshfsMadeUp/4096 - 1, sshfsMadeUp/4096 - 1, Quota{sshfsMadeUp - 4096, 4096}, false},
	} {
		var st unix.Statfs_t
		st.Frsize, st.Bsize, st.Blocks, st.Bfree, st.Bavail = int64(c.frsize), int64(c.bsize), c.blocks, c.free, c.available
		if q, err := quotaOf(st); q != c.want || (err != nil) != c.fails {
			t.Errorf("%+v: %+v, %v", c, q, err)
		}
	}
}
