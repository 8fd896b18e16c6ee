//go:build linux

// Package mounts reads and changes the kernel's mount table. It never stats a
// mount point: behind a dead link that can hang for minutes, while
// /proc/self/mountinfo can always be read.
package mounts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// Find returns the topmost mount at path, nil if there is none.
func Find(path string) (*mountinfo.Info, error) {
	all, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(path))
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	var top *mountinfo.Info
	for _, m := range all {
		top = m
	}
	// SingleEntryFilter stops at the first; several may be stacked, but any
	// one of them answers "is something mounted here".
	return top, nil
}

// Below returns the mount points at and below dir, deepest first, so that they
// can be taken down in that order.
func Below(dir string) ([]string, error) {
	all, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	var paths []string
	for i := len(all) - 1; i >= 0; i-- {
		paths = append(paths, all[i].Mountpoint)
	}
	return paths, nil
}

// Wait waits until something is mounted at path, or ended says that the
// process which was to mount it is gone, or ctx ends. The kernel reports a
// change of the mount table as POLLERR on mountinfo (proc_pid_mountinfo(5)).
// It waits for two minutes at the most.
func Wait(ctx context.Context, path string, ended <-chan error) error {
	limited, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	err := wait(limited, path, true, ended)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("nothing was mounted on %s within two minutes", path)
	}
	return err
}

// WaitGone waits until nothing is mounted at path any more.
func WaitGone(ctx context.Context, path string) error {
	return wait(ctx, path, false, nil)
}

func wait(ctx context.Context, path string, want bool, ended <-chan error) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}
	for {
		m, err := Find(path)
		if err != nil {
			return err
		}
		if (m != nil) == want {
			return nil
		}
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("the process ended without mounting")
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		// 50 ms bound how late the end of the process or of ctx is seen; the
		// mount itself wakes poll at once.
		if _, err := unix.Poll(fds, 50); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll mountinfo: %w", err)
		}
	}
}

// Unmount takes down what is mounted at path: gently while it lasts, then
// lazily, and last by aborting the FUSE connection, so that it always ends.
// gentle is how long the gentle way may take. It is no error if nothing is
// mounted. busy tells whether an open file kept the gentle way from working.
func Unmount(ctx context.Context, path string, gentle time.Duration) (busy bool, err error) {
	for range 16 { // stacked mounts
		m, err := Find(path)
		if err != nil || m == nil {
			return busy, err
		}
		if unmountGently(ctx, m.Mountpoint, gentle) {
			continue
		}
		busy = true
		if unmountLazily(ctx, path) {
			abort(m)
			continue
		}
		abort(m)
		if !unmountLazily(ctx, path) {
			return busy, proto.Errorf(proto.Mount, "cannot unmount %s", path).
				WithHint("run `fusermount3 -uz %s` as the user who mounted it, or `umount -l` as root", path)
		}
	}
	return busy, nil
}

func unmountGently(ctx context.Context, path string, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	for ctx.Err() == nil {
		argv := umountArgv(path, false)
		if err := proc.Run(ctx, proc.Cmd{Argv: argv}); err == nil {
			return true
		}
		if m, err := Find(path); err == nil && m == nil {
			return true
		}
		// Busy: the kernel has no event for a mount that becomes idle.
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return false
}

func unmountLazily(ctx context.Context, path string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = proc.Run(ctx, proc.Cmd{Argv: umountArgv(path, true)})
	m, err := Find(path)
	return err == nil && m == nil
}

// umountArgv is umount for root, and fusermount for everybody else, who may
// unmount only their own FUSE mounts. No /sbin/umount.<type> is run
// (--internal-only, umount(8)): davfs2's waits for its daemon however long that
// takes, and would live on when umount itself is told to end.
func umountArgv(path string, lazy bool) []string {
	if os.Getuid() == 0 {
		argv := []string{"umount", "--internal-only", "--no-canonicalize"}
		if lazy {
			argv = append(argv, "--lazy")
		}
		return append(argv, path)
	}
	flags := "-u"
	if lazy {
		flags = "-uz"
	}
	return []string{Fusermount(), flags, path}
}

// Fusermount is fusermount3, or fusermount of FUSE 2 where only that is there.
func Fusermount() string {
	if _, err := exec.LookPath("fusermount3"); err == nil {
		return "fusermount3"
	}
	return "fusermount"
}

// abort ends the FUSE connection behind m, which frees everybody who waits for
// it. Only root may; for others it does nothing. The connection's number is
// the minor device number (Documentation/filesystems/fuse/fuse.rst).
func abort(m *mountinfo.Info) {
	if !strings.HasPrefix(m.FSType, "fuse") {
		return
	}
	_ = os.WriteFile(filepath.Join("/sys/fs/fuse/connections", strconv.Itoa(m.Minor), "abort"), []byte("1"), 0)
}
