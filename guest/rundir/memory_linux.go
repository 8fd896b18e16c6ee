package rundir

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

func candidates() []candidate {
	uid := strconv.Itoa(os.Getuid())
	return []candidate{
		{os.Getenv("XDG_RUNTIME_DIR"), "fuseless"},
		{filepath.Join("/run/user", uid), "fuseless"},
		{"/dev/shm", "fuseless-" + uid},
	}
}

// inMemory tells whether dir is on tmpfs or ramfs (magic numbers of statfs(2)).
func inMemory(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	return int64(st.Type) == unix.TMPFS_MAGIC || uint32(st.Type) == unix.RAMFS_MAGIC
}
