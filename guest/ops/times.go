//go:build linux

package ops

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"fuseless/guest/mounts"
)

// wholeSeconds says whether the source shows times in whole seconds only: a VM
// sees it by sshfs where Lima has nothing better, and version 3 of the protocol
// has no more (draft-ietf-secsh-filexfer-02, section 5).
func (r *run) wholeSeconds() bool {
	if !r.Mounted {
		return false
	}
	m, err := mounts.Find(r.Source)
	return err == nil && m != nil && m.FSType == "fuse.sshfs"
}

// inodesChange says whether the inode numbers of the source may change while it
// is read: those of Apple's virtiofs are made up. Two files that get one number
// would be taken for hard links of one.
func (r *run) inodesChange() bool {
	if !r.Mounted {
		return false
	}
	m, err := mounts.Find(r.Source)
	return err != nil || m == nil || m.FSType == "virtiofs"
}

// keepsLinkTimes says whether a symbolic link in dir can be given a time. By
// sshfs it cannot: the server would follow the link.
func keepsLinkTimes(dir string) bool {
	tmp, err := os.MkdirTemp(dir, ".fuseless-probe-")
	if err != nil {
		return true // rsync says what is wrong
	}
	defer os.Remove(tmp)
	link := filepath.Join(tmp, "link")
	if err := os.Symlink("nowhere", link); err != nil {
		return true
	}
	defer os.Remove(link)
	t := []unix.Timespec{{Sec: 1e9}, {Sec: 1e9}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, link, t, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false
	}
	fi, err := os.Lstat(link)
	return err != nil || fi.ModTime().Unix() == 1e9
}
