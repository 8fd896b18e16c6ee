package hostmount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"syscall"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"

	"golang.org/x/sys/unix"
)

// cacheDir is where davfs2 keeps its plaintext cache for mountpoint: on tmpfs,
// below a folder that every user may pass, because the daemon has a user of its
// own and could not reach a runtime folder with mode 0700.
//
// A writable mount's has a name of its own: whoever finds it knows that it may
// hold the only copy of something, even where our record of the mount is gone.
func cacheDir(spec Spec) (string, error) {
	for _, dir := range []string{"/run", "/dev/shm"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC {
			name := fmt.Sprintf("fuseless-davfs2-%d-%s", os.Getuid(), key(spec.Mountpoint))
			if !spec.ReadOnly {
				name += "-rw"
			}
			return filepath.Join(dir, name), nil
		}
	}
	return "", proto.Errorf(proto.Mount, "neither /run nor /dev/shm is a tmpfs, and davfs2's cache must not be on a disk").
		WithHint("mount -t tmpfs tmpfs /dev/shm")
}

// makeCache makes the cache folder, for root and the daemon's group only. mkdir
// fails where something exists already, so nobody can plant a link in /dev/shm.
func makeCache(ctx context.Context, dir, group string) error {
	if _, err := user.LookupGroup(group); err != nil {
		return proto.Errorf(proto.Prerequisite, "davfs2's group %s does not exist", group).WithHint("reinstall davfs2")
	}
	for _, argv := range [][]string{{"mkdir", "-m", "0770", "--", dir}, {"chgrp", "-h", "--", group, dir}} {
		if err := privilege.Run(ctx, proc.Cmd{Argv: argv}); err != nil {
			return proto.Errorf(proto.Mount, "davfs2's cache: %w", err)
		}
	}
	return nil
}

// removeCache removes the cache of a read-only mount.
func removeCache(ctx context.Context, dir string) error {
	if there, err := cacheThere(dir); err != nil || !there {
		return err
	}
	if err := privilege.Run(ctx, proc.Cmd{Argv: []string{"rm", "-rf", "--one-file-system", "--", dir}}); err != nil {
		return proto.Errorf(proto.Mount, "removing davfs2's cache: %w", err)
	}
	return nil
}

// cacheThere says whether the cache folder dir exists. One that is not root's
// was planted, and is an error.
func cacheThere(dir string) (bool, error) {
	fi, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, proto.Errorf(proto.Mount, "davfs2's cache: %w", err)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || !fi.IsDir() {
		return false, proto.Errorf(proto.Mount, "%s is in the way of davfs2's cache, and not root's", dir).WithHint("remove it")
	}
	return true, nil
}
