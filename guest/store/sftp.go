package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/pkg/sftp"
)

// sftpFS is the remote.
type sftpFS struct {
	c      *sftp.Client
	closer io.Closer
}

func (f *sftpFS) Lstat(n string) (fs.FileInfo, error)     { return f.c.Lstat(n) }
func (f *sftpFS) ReadDir(n string) ([]fs.FileInfo, error) { return f.c.ReadDir(n) }

func (f *sftpFS) ReadFile(n string, max int64) ([]byte, error) {
	r, err := f.c.Open(n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readAll(r, n, max)
}

func (f *sftpFS) Create(n string, data []byte) error {
	w, err := f.c.OpenFile(n, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	if err == nil {
		err = w.Chmod(0o600)
	}
	return errors.Join(err, w.Close())
}

func (f *sftpFS) MkdirAll(n string) error {
	if n == "." || n == "/" || n == "" {
		return nil
	}
	if fi, err := f.c.Stat(n); err == nil {
		if !fi.IsDir() {
			return &os.PathError{Op: "mkdir", Path: n, Err: errors.New("is not a folder")}
		}
		return nil
	}
	if err := f.MkdirAll(path.Dir(n)); err != nil {
		return err
	}
	err := f.c.Mkdir(n)
	if err == nil {
		return f.c.Chmod(n, 0o700)
	}
	// SFTP version 3 has no status for "exists": look whether somebody else,
	// such as a parallel Move, was faster.
	if fi, serr := f.c.Stat(n); serr == nil && fi.IsDir() {
		return nil
	}
	return &os.PathError{Op: "mkdir", Path: n, Err: err}
}

// Rename is SSH_FXP_RENAME, which fails if the target exists (SFTP version 3,
// draft-ietf-secsh-filexfer-02 section 6.5).
func (f *sftpFS) Rename(from, to string) error { return f.c.Rename(from, to) }

func (f *sftpFS) Chmod(n string, mode fs.FileMode) error { return f.c.Chmod(n, mode) }

func (f *sftpFS) Remove(n string) error {
	err := f.c.Remove(n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (f *sftpFS) Close() error { return errors.Join(f.c.Close(), f.closer.Close()) }
