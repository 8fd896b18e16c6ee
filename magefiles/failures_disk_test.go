//go:build linux

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// do runs a program of the test's own.
func (l *lab) do(argv ...string) {
	l.t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		l.t.Fatalf("%q: %v: %s", argv, err, out)
	}
}

// onDisk lets what is in dir lie on a disk that mount puts there.
func (l *lab) onDisk(dir string, mount func()) (mend func()) {
	l.t.Helper()
	moved := filepath.Join(l.mem, "moved")
	l.do("cp", "-a", dir+"/.", moved)
	mount()
	l.mounts = append(l.mounts, dir)
	l.do("cp", "-a", moved+"/.", dir)
	must(l.t, os.RemoveAll(moved))
	return func() {
		unmount(l.t, dir)
		l.mounts = l.mounts[:len(l.mounts)-1]
	}
}

// quota lets the box have a disk on which a folder may take 3 MiB. Of the file
// systems that most kernels have btrfs alone needs no other support for that.
func quota(l *lab) func() {
	needs(l.t, "mkfs.btrfs", "btrfs")
	image, dir := l.path("disk"), filepath.Dir(l.vault)
	must(l.t, os.WriteFile(image, nil, 0o600))
	must(l.t, os.Truncate(image, 128<<20)) // the least that btrfs wants
	// It looks at every mount there is, and fails at one whose server is gone, as other
	// tests have them: so it sees none of FUSE. -i: umount.davfs would wait for the end of
	// another test's davfs2, and be found there as what that test has left.
	l.do("unshare", "--mount", "sh", "-c",
		`umount -i -a -l -t fuse,fuse.sshfs,fuse.gocryptfs,fuse.gocryptfs-reverse; exec mkfs.btrfs -q "$0"`, image)
	mend := l.onDisk(dir, func() {
		if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
			must(l.t, os.RemoveAll(filepath.Join(l.mem, "moved")))
			l.t.Skipf("no btrfs can be mounted here: %v: %s", err, out)
		}
	})
	l.do("btrfs", "quota", "enable", dir)
	l.do("btrfs", "qgroup", "limit", "3M", "0/5", dir)
	small := larger(l, 6<<20)
	return func() {
		small()
		mend()
		must(l.t, os.Remove(image))
	}
}

// otherDisk moves the vault to a disk of its own, and deletes a file in the source.
func otherDisk(l *lab) func() {
	mend := l.onDisk(l.vault, func() { must(l.t, syscall.Mount("fuseless-test", l.vault, "tmpfs", 0, "size=4m")) })
	file, aside := filepath.Join(l.source, "folder 1/file 1"), l.path("aside")
	must(l.t, os.Rename(file, aside))
	return func() {
		mend()
		must(l.t, os.Rename(aside, file))
	}
}
