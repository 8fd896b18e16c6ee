package store

import (
	"errors"
	"io"
	"os"
	"path"
	"time"
)

// posixRename is OpenSSH's extension of sftp that renames over an existing file
// in one step (OpenSSH's PROTOCOL, section 4.3). SSH_FXP_RENAME itself must fail
// where there is one.
const posixRename = "posix-rename@openssh.com"

// ErrNoReplace is that a server lacks the extension that CanReplace asks for.
var ErrNoReplace = errors.New("the server cannot replace a file in one step (" + posixRename + ")")

// CanReplace tells whether Replace can work: ErrNoReplace, or nil.
func CanReplace(f FS) error {
	if s, ok := f.(*sftpFS); ok {
		if _, ok := s.s.HasExtension(posixRename); !ok {
			return ErrNoReplace
		}
	}
	return nil
}

// Replace renames from to to in one step, also where there is a file of that
// name: at every moment to is the one or the other, whole.
func Replace(f FS, from, to string) error {
	switch s := f.(type) {
	case *sftpFS:
		if err := CanReplace(f); err != nil {
			return err
		}
		return s.s.Do(func() error { return s.s.PosixRename(from, to) })
	default:
		if err := os.Rename(from, to); err != nil {
			return err
		}
		return syncFolderOf(to)
	}
}

// syncFolderOf makes a rename safe against a power failure.
func syncFolderOf(name string) error {
	d, err := os.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// SetTime sets the modification time of a file; sftp carries whole seconds.
func SetTime(f FS, name string, t time.Time) error {
	if s, ok := f.(*sftpFS); ok {
		return s.s.Do(func() error { return s.s.Chtimes(name, t, t) })
	}
	return os.Chtimes(name, t, t)
}

// fsync is OpenSSH's extension of sftp that waits until a file is on the disk
// (OpenSSH's PROTOCOL, section 4.6).
const fsync = "fsync@openssh.com"

// CanSync tells whether the server can be asked to wait until a file is on the disk.
func CanSync(f FS) bool {
	s, ok := f.(*sftpFS)
	if !ok {
		return true
	}
	_, ok = s.s.HasExtension(fsync)
	return ok
}

// Sync waits until what was written to a file is on the disk, where the server
// offers that.
func Sync(f FS, name string) error {
	s, ok := f.(*sftpFS)
	if !ok {
		return nil // Create has done it
	}
	if !CanSync(f) {
		return nil
	}
	return s.s.Do(func() error {
		w, err := s.s.OpenFile(name, os.O_WRONLY)
		if err != nil {
			return err
		}
		return errors.Join(w.Sync(), w.Close())
	})
}

// ReadHead reads the first n bytes of a file, or all of a shorter one.
func ReadHead(f FS, name string, n int) (b []byte, err error) {
	s, ok := f.(*sftpFS)
	if !ok {
		r, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return head(r, n)
	}
	err = s.s.Do(func() error {
		r, err := s.s.Open(name)
		if err != nil {
			return err
		}
		b, err = head(r, n)
		go r.Close() // a round trip that nobody has to wait for
		return err
	})
	return b, err
}

func head(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	got, err := io.ReadFull(r, b)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:got], err
}

// ReplaceLocked is Replace into a folder that its owner may not write, as a
// vault of a source of mode 0555 is where we are not root.
func ReplaceLocked(f FS, from, to string) error {
	locked.Lock()
	defer locked.Unlock()
	back, err := widen(f, path.Dir(to))
	if err != nil {
		return err
	}
	defer back(path.Dir(to))
	return Replace(f, from, to)
}
