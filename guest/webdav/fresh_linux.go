package webdav

import (
	"os"

	"golang.org/x/sys/unix"
)

// refresh lets the kernel ask the file system anew how the open file f is, also if it
// asked a moment ago (statx(2)): it has asked by name before, and a file that was
// replaced since may be another one now. It is of no concern if it cannot.
func refresh(f *os.File) {
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) {
		var st unix.Statx_t
		_ = unix.Statx(int(fd), "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st)
	})
}
