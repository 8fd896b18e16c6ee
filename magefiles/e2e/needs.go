package e2e

import "fuseless/magefiles/prereq"

// Needs is what a run needs: to make a guest image and run it, an ordinary
// user, and all that a Linux host needs for itself as the guest, since one
// vault is switched between the two.
func Needs() []prereq.Need {
	return append(prereq.LocalGuest(),
		prereq.QEMU(),
		prereq.Need{Program: "qemu-img", Apt: "qemu-utils", Why: "makes the VM's disk"},
		prereq.Firmware(),
		// Without it Lima serves them by code of its own, with other limits.
		prereq.Need{File: "/usr/lib/openssh/sftp-server", Apt: "openssh-sftp-server", Why: "shows the VM the sources, read-only"},
		prereq.Need{Program: "mmdebstrap", Apt: "mmdebstrap", Why: "makes the guest image from packages"},
		prereq.Need{Program: "mke2fs", Apt: "e2fsprogs", Why: "makes the guest's file system"},
		prereq.Need{File: "/usr/share/keyrings/debian-archive-keyring.gpg", Apt: "debian-archive-keyring", Why: "signs the guest's packages"},
		prereq.Need{Program: "sudo", Apt: "sudo", Why: "lets an ordinary user mount davfs2"},
		prereq.Need{Program: "useradd", Apt: "passwd", Why: "makes an ordinary user"},
		prereq.Need{Program: "setpriv", Apt: "util-linux", Why: "runs fuseless as an ordinary user"},
	)
}
