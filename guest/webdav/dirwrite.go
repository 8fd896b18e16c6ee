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
	"time"
)

// What is on its way is .fuseless-upload-<32 hex digits>, beside what it replaces: a rename is
// atomic only within a file system. A folder, which rename(2) does not replace, lies in
// .fuseless-replaced-<32 hex digits> until what replaces it is in its place.
const (
	temporaryPrefix = ".fuseless-upload-"
	replacedPrefix  = ".fuseless-replaced-"
	temporaryDigits = 32
)

func isTemporary(base string) bool {
	digits, ok := strings.CutPrefix(base, temporaryPrefix)
	if !ok {
		digits, ok = strings.CutPrefix(base, replacedPrefix)
	}
	return ok && len(digits) == temporaryDigits && strings.Trim(digits, "0123456789abcdef") == ""
}

// beside is a new name beside name.
func beside(name, prefix string) string {
	var id [temporaryDigits / 2]byte
	rand.Read(id[:]) // never fails, since Go 1.24
	return path.Join(path.Dir(name), prefix+hex.EncodeToString(id[:]))
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

// replaceable is place for what is to be replaced.
func (d *Dir) replaceable(name string) (fs.FileInfo, error) {
	old, err := d.place("write", name)
	if _, ok := old.(interface{ linked() }); ok && err == nil {
		// The rename would put something in the place of the link.
		err = &fs.PathError{Op: "write", Path: name, Err: refuse(403, "this is a symbolic link; write to what it points to")}
	}
	return old, err
}

func (d *Dir) OpenWrite(_ context.Context, name string) (Upload, error) {
	old, err := d.replaceable(name)
	if err != nil {
		return nil, err
	}
	if old != nil && old.IsDir() {
		return nil, &fs.PathError{Op: "write", Path: name, Err: syscall.EISDIR}
	}
	temp := beside(name, temporaryPrefix)
	mode := fs.FileMode(0o666)
	if old != nil {
		mode = 0o600 // until it has that of the old one, which others may not be allowed to read
	}
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, readError("write", name, err)
	}
	u := &dirUpload{File: f, d: d, temp: temp, name: name}
	if old != nil {
		u.mode = old.Mode().Perm()
		u.keepMode = true
		u.like, u.follows = name, true
	}
	return u, nil
}

type dirUpload struct {
	*os.File
	d          *Dir
	temp, name string
	mode       fs.FileMode // of the replaced file
	keepMode   bool
	like       string    // whose extended attributes it gets; "": nobody's
	follows    bool      // it is another version of what is at name
	modTime    time.Time // zero: that of the writing
}

func (u *dirUpload) SetModTime(t time.Time) { u.modTime = t }

func (u *dirUpload) CopyOf(name string, fi fs.FileInfo) {
	u.like, u.modTime = name, fi.ModTime()
	if !u.keepMode {
		u.mode, u.keepMode = fi.Mode().Perm(), true
	}
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
	if u.like != "" {
		if err := u.d.copyAttrs(u.like, u.File); err != nil {
			return err // else what somebody has attached would be lost with the old file
		}
	}
	if u.keepMode { // after the attributes, which a mode may forbid
		// Not every file system has modes; the contents matter more.
		_ = u.Chmod(u.mode)
	}
	if u.follows && u.modTime.IsZero() {
		u.modTime = u.later()
	}
	if !u.modTime.IsZero() {
		// As with the mode: the contents are there, and matter more.
		_ = u.d.root.Chtimes(u.temp, time.Time{}, u.modTime)
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

// later is a modification time for a version that was written within the same second as the one
// before: clients that compare dates have seconds (RFC 9110 5.6.7), sshfs keeps no more, and
// with the same time it would pass for that one. Zero: it is later as it is.
func (u *dirUpload) later() time.Time {
	before, err := u.d.root.Lstat(u.name)
	if err != nil {
		return time.Time{}
	}
	now, err := u.Stat()
	if err != nil || now.ModTime().Unix() > before.ModTime().Unix() {
		return time.Time{}
	}
	return time.Unix(before.ModTime().Unix()+1, 0)
}

func (u *dirUpload) Abort() {
	u.Close()
	u.d.root.Remove(u.temp)
}

// syncFolder makes what happened to the entries of a folder durable. sshfs cannot sync a
// folder, and says EINVAL or ENOSYS; nor can we one that we may not read.
func (d *Dir) syncFolder(name string) error {
	f, err := d.root.Open(name)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
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

func (d *Dir) Create(_ context.Context, name string) error {
	if _, err := d.place("create", name); err != nil {
		return err
	}
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return readError("create", name, err)
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		d.root.Remove(name) // empty, and made by us
		return err
	}
	return d.syncFolder(path.Dir(name))
}

func (d *Dir) Mkdir(_ context.Context, name string) error {
	if _, err := d.place("mkdir", name); err != nil {
		return err
	}
	if err := d.root.Mkdir(name, 0o777); err != nil {
		return readError("mkdir", name, err)
	}
	return d.syncFolder(path.Dir(name))
}

func (d *Dir) Remove(_ context.Context, name string) error {
	if fi, err := d.place("remove", name); err != nil {
		return err
	} else if fi == nil {
		return notExist("remove", name)
	}
	if err := d.root.RemoveAll(name); err != nil {
		return err
	}
	return d.syncFolder(path.Dir(name))
}

func (d *Dir) Rename(_ context.Context, oldName, newName string) error {
	for _, n := range []string{oldName, newName} {
		if _, err := d.place("rename", n); err != nil {
			return err
		}
	}
	return d.replace(oldName, newName)
}

var errSameFile = refuse(403, "the destination is the source by another name (a hard link)")

// replace gives something another name, at which something may be.
func (d *Dir) replace(oldName, newName string) (err error) {
	from, err := d.root.Lstat(oldName)
	if err != nil {
		return readError("rename", oldName, err)
	}
	to, terr := d.root.Lstat(newName)
	switch {
	case terr != nil && !errors.Is(terr, fs.ErrNotExist):
		return readError("rename", newName, terr)
	case terr == nil && os.SameFile(from, to):
		return &fs.PathError{Op: "rename", Path: oldName, Err: errSameFile} // rename(2) does nothing
	case terr == nil && (from.IsDir() || to.IsDir()):
		aside := beside(newName, replacedPrefix)
		if err := d.root.Rename(newName, aside); err != nil {
			return err
		}
		if err := d.root.Rename(oldName, newName); err != nil {
			return errors.Join(err, d.root.Rename(aside, newName))
		}
		defer func() { // when it is durable
			if err == nil {
				_ = d.root.RemoveAll(aside) // what could not be removed is unseen
			}
		}()
	default:
		if err := d.root.Rename(oldName, newName); err != nil {
			return err
		}
		if terr == nil {
			// Over sshfs, two names of one file look like two files, and rename(2) has done nothing.
			if _, err := d.root.Lstat(oldName); err == nil {
				return &fs.PathError{Op: "rename", Path: oldName, Err: errSameFile}
			}
		}
	}
	if path.Dir(oldName) != path.Dir(newName) {
		if err := d.syncFolder(path.Dir(oldName)); err != nil {
			return err
		}
	}
	return d.syncFolder(path.Dir(newName))
}
