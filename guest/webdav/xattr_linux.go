package webdav

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// propsAttr is the extended attribute in which the dead properties of an entry are (xattr(7)).
const propsAttr = "user.fuseless.webdav.properties"

// at calls f with a path that leads to name and nowhere else. Nothing is opened for it, but a
// handle (O_PATH, open(2)), so that what is behind is not asked.
func (d *Dir) at(op, name string, f func(path string) error) error {
	if hasTemporary(name) {
		return notExist(op, name)
	}
	fi, err := d.stat(op, name)
	if err != nil {
		return err
	}
	flags := unix.O_PATH
	if isLink(fi) {
		flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY // with O_PATH it would be that of the link
	}
	h, err := d.root.OpenFile(name, flags, 0)
	if err != nil {
		return readError(op, name, err)
	}
	defer h.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d", h.Fd()))
}

func (d *Dir) Properties(_ context.Context, name string) (props []byte, err error) {
	err = d.at("read the properties of", name, func(path string) error {
		props, err = getAttr(path, propsAttr)
		return err
	})
	if unsupported(err) { // of another file system below the root, this says nothing
		return nil, nil
	}
	return props, err
}

// getAttr is an extended attribute, nil if there is none.
func getAttr(path, attr string) ([]byte, error) {
	b := make([]byte, 4<<10)
	for {
		n, err := unix.Getxattr(path, attr, b)
		switch {
		case err == nil:
			return b[:n], nil
		case errors.Is(err, unix.ENODATA):
			return nil, nil
		case errors.Is(err, unix.ERANGE) && len(b) < 64<<10: // the most that Linux knows (XATTR_SIZE_MAX)
			b = make([]byte, 64<<10)
		case !errors.Is(err, unix.EINTR):
			return nil, err
		}
	}
}

func unsupported(err error) bool { return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) }

func (d *Dir) SetProperties(_ context.Context, name string, props []byte) error {
	if _, err := d.place("set the properties of", name); err != nil && name != "." {
		return err
	}
	return d.at("set the properties of", name, func(path string) error {
		var err error
		if len(props) == 0 {
			if err = unix.Removexattr(path, propsAttr); errors.Is(err, unix.ENODATA) {
				err = nil
			}
		} else {
			err = unix.Setxattr(path, propsAttr, props, 0)
		}
		switch {
		case errors.Is(err, unix.E2BIG), errors.Is(err, unix.ERANGE):
			err = unix.ENOSPC
		case unsupported(err):
			err = errors.ErrUnsupported
		}
		return err
	})
}

func (d *Dir) SetModTime(_ context.Context, name string, t time.Time) error {
	return d.at("set the time of", name, func(path string) error { return os.Chtimes(path, time.Time{}, t) })
}

// copyAttrs gives a new file the user's extended attributes of the one that it is to
// replace, or is a copy of. Where there can be none, there are none.
func (d *Dir) copyAttrs(from string, to *os.File) error {
	err := d.at("read the attributes of", from, func(path string) error {
		list := make([]byte, 64<<10) // XATTR_LIST_MAX
		n, err := unix.Listxattr(path, list)
		if err != nil {
			return err
		}
		for attr := range strings.SplitSeq(string(list[:n]), "\x00") {
			if !strings.HasPrefix(attr, "user.") {
				continue
			}
			v, err := getAttr(path, attr)
			if err == nil {
				err = unix.Fsetxattr(int(to.Fd()), attr, v, 0)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if unsupported(err) || errors.Is(err, fs.ErrNotExist) { // or it is gone by now
		return nil
	}
	return err
}
