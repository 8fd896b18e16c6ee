package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"fuseless/guest/remote"
)

// sftpFS is the remote. Its errors wrap proto.ErrLink where the link broke.
type sftpFS struct{ s *remote.Session }

func (f *sftpFS) Lstat(n string) (fi fs.FileInfo, err error) {
	err = f.s.Do(func() error { fi, err = f.s.Lstat(n); return err })
	return fi, err
}

func (f *sftpFS) ReadDir(n string) (l []fs.FileInfo, err error) {
	err = f.s.Do(func() error { l, err = f.s.ReadDir(n); return err })
	for _, fi := range l {
		// What a hostile server names must not lead out of the folder.
		if name := fi.Name(); err == nil && (!filepath.IsLocal(name) || name == "." || strings.ContainsAny(name, "/\x00")) {
			return nil, &fs.PathError{Op: "list", Path: n, Err: fmt.Errorf("the remote names a file %q", name)}
		}
	}
	return l, err
}

func (f *sftpFS) ReadFile(n string, max int64) (b []byte, err error) {
	err = f.s.Do(func() error {
		r, err := f.s.Open(n)
		if err != nil {
			return err
		}
		defer r.Close()
		b, err = readAll(r, n, max)
		return err
	})
	return b, err
}

func (f *sftpFS) Create(n string, data []byte) error {
	return f.s.Do(func() error {
		w, err := f.s.OpenFile(n, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		if err == nil {
			err = w.Chmod(0o600)
		}
		return errors.Join(err, w.Close())
	})
}

func (f *sftpFS) MkdirAll(n string) error {
	return f.s.Do(func() error { return f.mkdirAll(n) })
}

func (f *sftpFS) mkdirAll(n string) error {
	if n == "." || n == "/" || n == "" {
		return nil
	}
	if fi, err := f.s.Stat(n); err == nil {
		if !fi.IsDir() {
			return &os.PathError{Op: "mkdir", Path: n, Err: errors.New("is not a folder")}
		}
		return nil
	}
	if err := f.mkdirAll(path.Dir(n)); err != nil {
		return err
	}
	err := f.s.Mkdir(n)
	if err == nil {
		return f.s.Chmod(n, 0o700)
	}
	// SFTP version 3 has no status for "exists": look whether somebody else,
	// such as a parallel Move, was faster.
	if fi, serr := f.s.Stat(n); serr == nil && fi.IsDir() {
		return nil
	}
	return &os.PathError{Op: "mkdir", Path: n, Err: err}
}

// Rename is SSH_FXP_RENAME, which fails if the target exists (SFTP version 3,
// draft-ietf-secsh-filexfer-02 section 6.5).
func (f *sftpFS) Rename(from, to string) error {
	return f.s.Do(func() error { return f.s.Rename(from, to) })
}

func (f *sftpFS) Chmod(n string, mode fs.FileMode) error {
	return f.s.Do(func() error { return f.s.Chmod(n, mode) })
}

func (f *sftpFS) Remove(n string) error {
	err := f.s.Do(func() error { return f.s.Remove(n) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Broken tells whether the session is of no use any more.
func (f *sftpFS) Broken() bool { return f.s.Broken() }

func (f *sftpFS) Close() error { return f.s.Close() }
