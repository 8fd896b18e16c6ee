package hostmount

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Mounted is what is mounted on the folder mountpoint, from getfsstat(2) with
// MNT_NOWAIT, which asks no server; of several mounts on top of each other, the
// one that is seen. It does not touch the folder itself.
func Mounted(mountpoint string) (source string, ok bool, err error) {
	mountpoint, err = canonical(mountpoint)
	if err != nil {
		return "", false, err
	}
	// Mounts may come between the two calls; a full buffer is asked again.
	for size := 64; ; size *= 2 {
		buf := make([]unix.Statfs_t, size)
		n, err := unix.Getfsstat(buf, unix.MNT_NOWAIT)
		if err != nil {
			return "", false, fmt.Errorf("reading the mount table: %w", err)
		}
		if n == size {
			continue
		}
		for i := range buf[:n] {
			if unix.ByteSliceToString(buf[i].Mntonname[:]) == mountpoint {
				source, ok = unix.ByteSliceToString(buf[i].Mntfromname[:]), true
			}
		}
		return source, ok, nil
	}
}
