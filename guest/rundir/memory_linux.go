package rundir

import "golang.org/x/sys/unix"

// inMemory tells whether dir is on tmpfs or ramfs (magic numbers of statfs(2)).
func inMemory(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	return int64(st.Type) == unix.TMPFS_MAGIC || uint32(st.Type) == unix.RAMFS_MAGIC
}
