//go:build linux

package gocryptfs

import "golang.org/x/sys/unix"

// The bounds of what a reverse mount may have, in bytes. A million files take 0.7
// GiB, so the lower one is enough for three million.
const (
	memoryMin = 2 << 30
	memoryMax = 8 << 30
)

// limit bounds the memory of the gocryptfs process pid: half of this machine's, within
// the bounds.
//
// A reverse mount knows folders by their inode numbers. Where folders are deleted and
// made anew while it is read, one can get the number that another one above it had; go-fuse
// then has each below the other, and goes up from one to the other for ever, which
// took 23 GB in ten minutes here before the kernel ended it. So it ends before
// the machine stands still, and the run with it.
func limit(pid int) {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return
	}
	n := min(max(uint64(info.Totalram)*uint64(info.Unit)/2, memoryMin), memoryMax)
	_ = unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: n, Max: n}, nil)
}
