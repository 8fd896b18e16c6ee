package webdav

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// Uploads in progress are .fuseless-upload-<32 hex digits>, beside the file
// that they replace: a rename is atomic only within a file system.
const (
	temporaryPrefix = ".fuseless-upload-"
	temporaryDigits = 32
)

func isTemporary(base string) bool {
	digits, ok := strings.CutPrefix(base, temporaryPrefix)
	return ok && len(digits) == temporaryDigits && strings.Trim(digits, "0123456789abcdef") == ""
}

func hasTemporary(name string) bool {
	for e := range strings.SplitSeq(name, "/") {
		if isTemporary(e) {
			return true
		}
	}
	return false
}

// place checks that name may be written to: it is neither the root nor hidden.
// Writing over something hidden would destroy what the person cannot see.
// It returns what is there, nil for nothing.
func (d *Dir) place(op, name string) (fs.FileInfo, error) {
	if name == "." || hasTemporary(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrPermission}
	}
	fi, err := d.stat(op, name)
	if err == nil {
		return fi, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := d.root.Lstat(name); err == nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: errHidden}
	} else if errors.Is(err, syscall.ENAMETOOLONG) {
		return nil, err
	}
	return nil, nil
}

var errHidden = refuse(403, "something that cannot be shown has this name: a special file, or a link that leads nowhere or out of the folder")

func (d *Dir) OpenWrite(_ context.Context, name string) (Upload, error) {
	old, err := d.place("write", name)
	if err != nil {
		return nil, err
	}
	if old != nil && old.IsDir() {
		return nil, &fs.PathError{Op: "write", Path: name, Err: syscall.EISDIR}
	}
	if _, ok := old.(interface{ linked() }); ok {
		// The rename would put a file in the place of the link.
		return nil, &fs.PathError{Op: "write", Path: name, Err: refuse(403, "this is a symbolic link; write to the file that it points to")}
	}
	var id [temporaryDigits / 2]byte
	rand.Read(id[:]) // never fails, since Go 1.24
	temp := path.Join(path.Dir(name), temporaryPrefix+hex.EncodeToString(id[:]))
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, readError("write", name, err)
	}
	u := &dirUpload{File: f, d: d, temp: temp, name: name}
	if old != nil {
		u.mode = old.Mode().Perm()
		u.keepMode = true
	}
	return u, nil
}

type dirUpload struct {
	*os.File
	d          *Dir
	temp, name string
	mode       fs.FileMode // of the replaced file
	keepMode   bool
}

func (u *dirUpload) Commit() error {
	err := u.commit()
	if err != nil {
		u.d.root.Remove(u.temp)
	}
	return err
}

func (u *dirUpload) commit() error {
	defer u.Close()
	if u.keepMode {
		// Not every file system has modes; the contents matter more.
		_ = u.Chmod(u.mode)
	}
	if err := u.Sync(); err != nil {
		return err
	}
	if err := u.Close(); err != nil {
		return err
	}
	if err := u.d.root.Rename(u.temp, u.name); err != nil {
		return err
	}
	return u.d.syncFolder(path.Dir(u.name))
}

func (u *dirUpload) Abort() {
	u.Close()
	u.d.root.Remove(u.temp)
}

// syncFolder makes a rename durable. sshfs cannot sync a folder, and says EINVAL or
// ENOSYS.
func (d *Dir) syncFolder(name string) error {
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

func (d *Dir) Mkdir(_ context.Context, name string) error {
	if _, err := d.place("mkdir", name); err != nil {
		return err
	}
	if err := d.root.Mkdir(name, 0o777); err != nil {
		return readError("mkdir", name, err)
	}
	return nil
}

func (d *Dir) Remove(_ context.Context, name string) error {
	if fi, err := d.place("remove", name); err != nil {
		return err
	} else if fi == nil {
		return notExist("remove", name)
	}
	return d.root.RemoveAll(name)
}

func (d *Dir) Rename(_ context.Context, oldName, newName string) error {
	for _, n := range []string{oldName, newName} {
		if _, err := d.place("rename", n); err != nil {
			return err
		}
	}
	return d.root.Rename(oldName, newName)
}
