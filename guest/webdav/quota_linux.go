package webdav

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// sshfsMadeUp is the size of a file system, in bytes, all of it free, that
// sshfs makes up if the server lacks statvfs@openssh.com (sshfs.c, sshfs_statfs).
const sshfsMadeUp = 1000 << 30

var errMadeUp = errors.New("the remote's sftp server does not tell")

// Quota is statfs(2) of the root. Available is what there is for a user without
// privileges (f_bavail), as df shows it.
func (d *Dir) Quota(context.Context) (Quota, error) {
	// O_PATH opens nothing in the file system itself (open(2)); fstatfs takes it.
	f, err := d.root.OpenFile(".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return Quota{}, err
	}
	defer f.Close()
	var st unix.Statfs_t
	for {
		if err = unix.Fstatfs(int(f.Fd()), &st); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return Quota{}, os.NewSyscallError("fstatfs", err)
	}
	return quotaOf(st)
}

func quotaOf(st unix.Statfs_t) (Quota, error) {
	unit := uint64(st.Frsize)
	if unit == 0 {
		unit = uint64(st.Bsize)
	}
	// In multiples of the unit, as sshfs divides it.
	if unit > 0 && st.Blocks == sshfsMadeUp/unit && st.Bfree == st.Blocks && st.Bavail == st.Blocks {
		return Quota{}, errMadeUp
	}
	return Quota{Available: st.Bavail * unit, Used: (st.Blocks - min(st.Bfree, st.Blocks)) * unit}, nil
}
