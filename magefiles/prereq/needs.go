// Package prereq knows what must be installed, and installs it with apt or brew.
package prereq

import (
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// Need is a program, or a file, that must be there.
type Need struct {
	Program string // looked for in PATH and in the system's sbin folders
	File    string // instead of Program: an absolute path that must exist
	Why     string // what it is for, as the end of "NAME: ..."

	Min         string         // lowest version that works, "" for any
	VersionArgs []string       // make Program print its version, on either output
	Version     *regexp.Regexp // its first group is the version

	Apt  string // Debian's package
	Brew string // Homebrew's formula; "" where there is none for macOS
	Dnf  string // Fedora's package, if it is called otherwise

	Fuse bool // it is of no use without /dev/fuse
}

// Name is what the need is called in messages.
func (n Need) Name() string {
	if n.Program != "" {
		return n.Program
	}
	return n.File
}

// The first lines of what the programs print, for which these are, are in the
// tests.
var (
	gocryptfsVersion = regexp.MustCompile(`(?m)^gocryptfs v?(\d[\w.]*)`)
	sshfsVersion     = regexp.MustCompile(`(?m)^SSHFS version (\d[\w.]*)`)
	fuseVersion      = regexp.MustCompile(`(?m)^fusermount3 version: (\d[\w.]*)`)
	rsyncVersion     = regexp.MustCompile(`(?m)^rsync\s+version v?(\d[\w.]*)`)
	sshVersion       = regexp.MustCompile(`(?m)^OpenSSH_(?:for_Windows_)?(\d[\w.]*)`)
	davfsVersion     = regexp.MustCompile(`(?m)^davfs2 (\d[\w.]*)`)
	resticVersion    = regexp.MustCompile(`(?m)^restic v?(\d[\w.]*)`)
	borgVersion      = regexp.MustCompile(`(?m)^borg (\d[\w.]*)`)
	rcloneVersion    = regexp.MustCompile(`(?m)^rclone v(\d[\w.]*)`)
)

// LocalGuest is what the machine itself needs as the guest, and as the host in
// front of it: for the demo, and for `guest: local`. It is for Linux.
func LocalGuest() []Need {
	return []Need{
		// The oldest that is tested; older ones than 2.5.0 take an extra pass.
		{Program: "gocryptfs", Min: "2.3", VersionArgs: []string{"-version"}, Version: gocryptfsVersion,
			Apt: "gocryptfs", Why: "encrypts and decrypts the vault", Fuse: true},
		{Program: "sshfs", Min: "3.0", VersionArgs: []string{"-V"}, Version: sshfsVersion,
			Apt: "sshfs", Dnf: "fuse-sshfs", Why: "mounts the remote's folder", Fuse: true},
		{Program: "fusermount3", Min: "3.0", VersionArgs: []string{"-V"}, Version: fuseVersion,
			Apt: "fuse3", Why: "mounts and unmounts without root", Fuse: true},
		// --modify-window=-1 came with 3.1.3; 3.2 is the oldest that is tested.
		{Program: "rsync", Min: "3.2.0", VersionArgs: []string{"--version"}, Version: rsyncVersion,
			Apt: "rsync", Brew: "rsync", Why: "sends the vault to the remote"},
		SSH,
		DavFS,
	}
}

// SSH is the host's ssh, which makes every connection to a remote.
var SSH = Need{Program: "ssh", Min: "7.6", VersionArgs: []string{"-V"}, Version: sshVersion,
	Apt: "openssh-client", Brew: "openssh", Dnf: "openssh-clients", Why: "connects to the remote"}

// DavFS mounts the decrypted view on a Linux host. Its question, whether
// mount.davfs shall be setuid root, is left at its default, no.
var DavFS = Need{Program: "mount.davfs", Min: "1.6.0", VersionArgs: []string{"-V"}, Version: davfsVersion,
	Apt: "davfs2", Why: "shows the decrypted view as a folder", Fuse: true}

// Host is what this machine needs as the host of a VM.
func Host() []Need {
	if runtime.GOOS == "darwin" {
		return []Need{SSH} // mount_webdav is a part of macOS
	}
	return []Need{SSH, DavFS}
}

// QEMU is what runs a VM on Linux, but for its firmware.
func QEMU() Need {
	if runtime.GOARCH == "arm64" {
		return Need{Program: "qemu-system-aarch64", Apt: "qemu-system-arm", Why: "runs the VM"}
	}
	return Need{Program: "qemu-system-x86_64", Apt: "qemu-system-x86", Why: "runs the VM"}
}

// Firmware is the UEFI firmware of a VM on Linux.
func Firmware() Need {
	n := Need{File: "/usr/share/OVMF", Apt: "ovmf", Why: "is the VM's firmware"}
	if runtime.GOARCH == "arm64" {
		n.File, n.Apt = "/usr/share/AAVMF", "qemu-efi-aarch64"
	}
	return n
}

// Tests is what the tests need besides LocalGuest.
func Tests() []Need {
	return append(Bench(),
		QEMU(), Firmware(), // the tests of the probe for KVM
		Need{Program: "python3", Apt: "python3", Why: "is at both ends of a forwarded socket in a test"},
		Need{Program: "gcc", Apt: "gcc", Why: "builds the tests with the race detector"},
		Need{File: "/usr/include/stdlib.h", Apt: "libc6-dev", Dnf: "glibc-devel", Why: "builds the tests with the race detector"},
		Need{Program: "sudo", Apt: "sudo", Why: "tests an ordinary user's mounts"},
		Need{Program: "mkfs.btrfs", Apt: "btrfs-progs", Why: "makes a disk with a quota"},
		Need{Program: "litmus", Apt: "litmus", Brew: "litmus", Why: "tests the WebDAV server"},
		Need{Program: "strace", Apt: "strace", Why: "shows in which order the WebDAV server makes files durable"},
		Need{Program: "curl", Apt: "curl", Brew: "curl", Why: "reads a view as people do"},
		// Clients that edit on the WebDAV server. gio alone knows no dav://.
		Need{Program: "cadaver", Apt: "cadaver", Brew: "cadaver", Why: "edits on the WebDAV server"},
		Need{Program: "vim", Apt: "vim", Dnf: "vim-enhanced", Why: "edits on the WebDAV server"},
		Need{Program: "gio", Apt: "libglib2.0-bin", Dnf: "glib2", Why: "edits on the WebDAV server as GNOME does"},
		Need{File: "/usr/libexec/gvfsd-dav", Apt: "gvfs-backends", Dnf: "gvfs", Why: "edits on the WebDAV server as GNOME does"},
		Need{Program: "dbus-run-session", Apt: "dbus-daemon", Why: "runs GNOME's client without a desktop"},
		Need{Program: "chromium", Apt: "chromium", Why: "opens the WebDAV server's pages as a person would"},
	)
}

// Bench is what `mage bench` needs besides LocalGuest.
func Bench() []Need {
	return []Need{
		{Program: "sshd", Apt: "openssh-server", Why: "is a real remote, also a restricted one"},
		{Program: "ip", Apt: "iproute2", Dnf: "iproute", Why: "sets up the emulated link"},
		{Program: "nsenter", Apt: "util-linux", Why: "runs a program at one end of the emulated link"},
		{Program: "restic", VersionArgs: []string{"version"}, Version: resticVersion, Apt: "restic", Brew: "restic", Why: "is what fuseless is measured against"},
		{Program: "borg", VersionArgs: []string{"--version"}, Version: borgVersion, Apt: "borgbackup", Brew: "borgbackup", Why: "is what fuseless is measured against"},
		{Program: "rclone", VersionArgs: []string{"version"}, Version: rcloneVersion, Apt: "rclone", Brew: "rclone", Why: "is what fuseless is measured against"},
	}
}

// parseVersion is the version in what a program printed, or "".
func (n Need) parseVersion(output string) string {
	if n.Version == nil {
		return ""
	}
	m := n.Version.FindStringSubmatch(output)
	if m == nil {
		return ""
	}
	return m[1]
}

// older says whether version a comes before b. The numbers are compared one by
// one, up to the first part that does not begin with one: "9.2p1" is 9.2.
func older(a, b string) bool {
	x, y := numbers(a), numbers(b)
	for i := range max(len(x), len(y)) {
		var m, n int
		if i < len(x) {
			m = x[i]
		}
		if i < len(y) {
			n = y[i]
		}
		if m != n {
			return m < n
		}
	}
	return false
}

func numbers(version string) []int {
	var ns []int
	for part := range strings.SplitSeq(version, ".") {
		digits := part[:len(part)-len(strings.TrimLeft(part, "0123456789"))]
		n, err := strconv.Atoi(digits)
		if err != nil {
			break
		}
		ns = append(ns, n)
		if digits != part {
			break
		}
	}
	return ns
}
