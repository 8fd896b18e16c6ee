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
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"

	"golang.org/x/sys/unix"
)

// cacheDir is where davfs2 keeps its plaintext cache for mountpoint: on tmpfs,
// below a folder that every user may pass, because the daemon has a user of its
// own and could not reach a runtime folder with mode 0700.
func cacheDir(mountpoint string) (string, error) {
	for _, dir := range []string{"/run", "/dev/shm"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC {
			return filepath.Join(dir, fmt.Sprintf("fuseless-davfs2-%d-%s", os.Getuid(), key(mountpoint))), nil
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

// settleCache removes the cache folder; or, where it holds files that did not
// reach the server, moves it aside and says so.
func settleCache(ctx context.Context, dir string, readOnly bool) (warning string, err error) {
	fi, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", proto.Errorf(proto.Mount, "davfs2's cache: %w", err)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || !fi.IsDir() {
		return "", proto.Errorf(proto.Mount, "%s is in the way of davfs2's cache, and not root's", dir).WithHint("remove it")
	}
	keep := false
	if !readOnly {
		if keep, err = holdsLost(ctx, dir); err != nil {
			return "", proto.Errorf(proto.Mount, "looking for files that davfs2 could not upload: %w", err)
		}
	}
	if keep {
		aside := dir + "-kept-" + time.Now().UTC().Format("20060102T150405.000")
		if err := privilege.Run(ctx, proc.Cmd{Argv: []string{"mv", "-T", "--", dir, aside}}); err != nil {
			return "", proto.Errorf(proto.Mount, "keeping the files that davfs2 could not upload: %w", err)
		}
		return "files written into the mount may not have reached the vault; they are in " + aside +
			", in memory only: copy them as root before the machine restarts, then remove the folder", nil
	}
	if err := privilege.Run(ctx, proc.Cmd{Argv: []string{"rm", "-rf", "--one-file-system", "--", dir}}); err != nil {
		return "", proto.Errorf(proto.Mount, "removing davfs2's cache: %w", err)
	}
	return "", nil
}

// holdsLost says whether the cache holds what did not reach the server. davfs2
// writes its index when it ends in order; without one, any file may be.
// The cache is not ours to read, hence the commands.
func holdsLost(ctx context.Context, dir string) (bool, error) {
	files, err := privilege.Output(ctx, proc.Cmd{Argv: []string{"find", dir, "-mindepth", "2", "-type", "f", "!", "-name", "index", "-print", "-quit"}})
	if err != nil || len(files) == 0 {
		return false, err
	}
	index, err := privilege.Output(ctx, proc.Cmd{Argv: []string{"find", dir, "-mindepth", "2", "-maxdepth", "2", "-name", "index", "-exec", "cat", "{}", ";"}})
	if err != nil {
		return false, err
	}
	return lostIn(index), nil
}
