package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fuseless/guest/proto"
)

// maxSocketPath is the longest path of a socket, in bytes: sun_path has 104 on
// macOS (sys/un.h; 108 on Linux) with the NUL at its end.
const maxSocketPath = 103

// Listen listens on the unix socket path (mode 0600). Its folder must be
// ours, mode 0700 and no symlink, for whoever can connect can use the remote.
// A socket that nobody answers on is replaced; where somebody does, the error
// has code proto.Busy.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, proto.Errorf(proto.Config, "socket path %s has %d bytes, and %d are possible", path, len(path), maxSocketPath).
			WithHint("use a shorter state folder (XDG_RUNTIME_DIR, XDG_STATE_HOME)")
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, proto.Errorf(proto.Internal, "listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, proto.Errorf(proto.Internal, "%w", err)
	}
	return l, nil
}

// lockFolder checks dir and locks it against another Listen, or the removal
// of a stale socket, in it. The lock lies on the folder itself, so it leaves
// no file.
func lockFolder(dir string) (unlock func(), err error) {
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, proto.Errorf(proto.Internal, "%w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, proto.Errorf(proto.Internal, "lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

func checkFolder(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return proto.Errorf(proto.Internal, "%w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.IsDir():
		err = errors.New("is not a folder")
	case !ok || int(st.Uid) != os.Geteuid():
		err = errors.New("belongs to another user")
	case fi.Mode().Perm() != 0o700:
		err = fmt.Errorf("has mode %04o, not 0700", fi.Mode().Perm())
	}
	if err != nil {
		return proto.Errorf(proto.Internal, "the socket's folder %s %w", dir, err).
			WithHint("remove it, or set mode 0700; it is made anew")
	}
	return nil
}

// removeStale removes the socket path if nobody answers on it.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return proto.Errorf(proto.Internal, "%w", err)
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return proto.Errorf(proto.Internal, "%s is in the way and is not a socket", path)
	}
	c, err := net.DialTimeout("unix", path, 5*time.Second)
	switch {
	case err == nil:
		c.Close()
		return proto.Errorf(proto.Busy, "another run listens on %s", path)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return proto.Errorf(proto.Busy, "%w", err) // full backlog, or a deadline
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return proto.Errorf(proto.Internal, "%w", err)
	}
	return nil
}
