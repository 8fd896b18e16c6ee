//go:build linux

package gocryptfs

import "golang.org/x/sys/unix"

// memoryMin is what a reverse mount may have at least, in bytes: a million files take
// 0.7 GiB.
const memoryMin = 4 << 30

// limit bounds the memory of the gocryptfs process pid: half of this machine's, or
// memoryMin if that is more.
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
	n := max(uint64(info.Totalram)*uint64(info.Unit)/2, memoryMin)
	_ = unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: n, Max: n}, nil)
}
