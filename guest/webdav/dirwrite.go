package webdav

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"
)

// place checks that name may be written to: it is neither the root nor hidden.
// Writing over something hidden would destroy what the person cannot see.
// It returns what is there, nil for nothing.
func (d *Dir) place(op, name string) (fs.FileInfo, error) {
	if name == "." || hasTemporary(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrPermission}
	}
	fi, err := d.root.Lstat(name)
	if err != nil {
		if errors.Is(readError(op, name, err), fs.ErrNotExist) && !errors.Is(err, syscall.ENAMETOOLONG) {
			err = nil
		}
		return nil, err
	}
	fi, err = d.describe(op, name, fi)
	if errors.Is(err, fs.ErrNotExist) {
		err = &fs.PathError{Op: op, Path: name, Err: errHidden}
	}
	return fi, err
}

var errHidden = refuse(403, "something that cannot be shown has this name: a special file, or a link that leads nowhere or out of the folder")

// replaceable is place for what is to be replaced.
func (d *Dir) replaceable(name string) (fs.FileInfo, error) {
	old, err := d.place("write", name)
	if err == nil && isLink(old) {
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
	mode := fs.FileMode(0o666)
	if old != nil {
		mode = 0o600 // until it has that of the old one, which others may not be allowed to read
	}
	temp := d.begin(name)
	f, err := d.root.OpenFile(d.where(temp), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		d.finish(temp)
		return nil, readError("write", name, err)
	}
	return &dirUpload{File: f, d: d, temp: temp, name: name, path: func() string { return d.where(temp) }}, nil
}

// dirUpload is an Upload to a temporary file or, in a Stage, to a file of that.
type dirUpload struct {
	*os.File
	d        *Dir
	path     func() string // where it is
	temp     string        // its temporary name; "" in a Stage
	name     string        // where it is to be, if temp is not ""
	mode     fs.FileMode   // that it is to have
	keepMode bool
	like     string    // whose extended attributes it gets; "": nobody's
	modTime  time.Time // zero: that of the writing
	not      time.Time // it must be another than this, if not zero
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
		u.Abort()
		err = gone(err)
	} else if u.temp != "" {
		u.d.finish(u.temp)
	}
	return err
}

func (u *dirUpload) commit() error {
	defer u.Close()
	if u.temp != "" {
		if err := u.succeed(); err != nil {
			return err
		}
	}
	if u.like != "" {
		if err := u.d.copyAttrs(u.like, u.File); err != nil {
			return err // else what somebody has attached would be lost with the old file
		}
	}
	if u.keepMode { // after the attributes, which a mode may forbid
		// Not every file system has modes; the contents matter more.
		_ = u.Chmod(u.mode)
	}
	if !u.modTime.IsZero() {
		// As with the mode: the contents are there, and matter more.
		_ = u.d.root.Chtimes(u.path(), time.Time{}, u.modTime)
	}
	if !u.not.IsZero() {
		if fi, err := u.d.root.Lstat(u.path()); err == nil && fi.ModTime().Equal(u.not) { // sshfs has whole seconds
			_ = u.d.root.Chtimes(u.path(), time.Time{}, u.not.Add(time.Second))
		}
	}
	if err := u.Sync(); err != nil {
		return err
	}
	if err := u.Close(); err != nil {
		return err
	}
	if u.temp == "" {
		return nil // the Stage's folder is synced when it is whole
	}
	if err := u.d.root.Rename(u.path(), u.name); err != nil {
		return err
	}
	return u.d.syncFolder(path.Dir(u.name))
}

// gone is err, where what is not there is our own: somebody has taken the folder away.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved
	}
	return err
}

// succeed makes it the next version of what is in its place now, if anything is: with its mode,
// its attributes, and another ETag.
func (u *dirUpload) succeed() error {
	old, err := u.d.replaceable(u.name)
	if err != nil || old == nil || old.IsDir() {
		return err // a file does not take the place of a folder: rename(2)
	}
	u.mode, u.keepMode, u.like = old.Mode().Perm(), true, u.name
	now, err := u.Stat()
	switch {
	case err != nil:
		return err
	case u.modTime.IsZero() && now.ModTime().Unix() <= old.ModTime().Unix():
		// Clients that compare dates have seconds (RFC 9110 5.6.7), sshfs keeps no more, and
		// with the same time it would pass for the old one.
		u.modTime = laterThan(old)
	case u.modTime.Equal(old.ModTime()) && now.Size() == old.Size():
		u.modTime, u.not = u.modTime.Add(1), u.modTime // ns; the client's time has seconds
	}
	return nil
}

// laterThan is in the second after that of before, and in no version of another file.
func laterThan(before fs.FileInfo) time.Time {
	return time.Unix(before.ModTime().Unix()+1, int64(time.Now().Nanosecond()))
}

func (u *dirUpload) Abort() {
	u.Close()
	if u.temp == "" {
		_ = u.d.root.Remove(u.path())
		return
	}
	u.d.discard(u.temp)
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

func (d *Dir) Remove(_ context.Context, name string) (rest func() error, err error) {
	if fi, err := d.place("remove", name); err != nil {
		return nil, err
	} else if fi == nil {
		return nil, notExist("remove", name)
	}
	fi, err := d.root.Lstat(name)
	if err != nil {
		return nil, readError("remove", name, err)
	}
	if !fi.IsDir() {
		if err := d.root.Remove(name); err != nil {
			return nil, err
		}
		return func() error { return nil }, d.syncFolder(path.Dir(name))
	}
	temp := d.begin(name)
	back := func() error {
		defer d.finish(temp)
		at := d.where(temp) // its folder may have been moved
		to := path.Join(path.Dir(at), path.Base(name))
		if _, err := d.root.Lstat(to); err == nil {
			return errors.New("something else is there by now")
		}
		return d.rename(at, to)
	}
	if err := d.rename(name, d.where(temp)); err != nil {
		// Where a link drops, it may have happened all the same.
		if _, lerr := d.root.Lstat(d.where(temp)); !errors.Is(lerr, fs.ErrNotExist) {
			return nil, errors.Join(err, back())
		}
		d.finish(temp)
		return nil, err
	}
	if err := d.syncFolder(path.Dir(name)); err != nil {
		return nil, errors.Join(err, back())
	}
	return func() error {
		err := d.root.RemoveAll(d.where(temp))
		if err == nil {
			d.finish(temp)
			return nil
		}
		// What is left belongs to who asked, and not into the dark.
		if berr := back(); berr != nil {
			return fmt.Errorf("%w; what is left of it is hidden: %w", err, berr)
		}
		return err
	}, nil
}

func (d *Dir) Rename(_ context.Context, oldName, newName string) (rest func(), err error) {
	for _, n := range []string{oldName, newName} {
		if _, err := d.place("rename", n); err != nil {
			return nil, err
		}
	}
	return d.replace(oldName, newName)
}

var errSameFile = refuse(403, "the destination is the source by another name (a hard link)")

// replace gives something another name, at which something may be. rest removes that.
func (d *Dir) replace(oldName, newName string) (rest func(), err error) {
	rest = func() {}
	from, err := d.root.Lstat(oldName)
	if err != nil {
		return nil, readError("rename", oldName, err)
	}
	to, terr := d.root.Lstat(newName)
	var a *aside
	switch {
	case terr != nil && !errors.Is(terr, fs.ErrNotExist):
		return nil, readError("rename", newName, terr)
	case terr == nil && os.SameFile(from, to):
		return nil, &fs.PathError{Op: "rename", Path: oldName, Err: errSameFile} // rename(2) does nothing
	case terr == nil && (from.IsDir() || to.IsDir()):
		if a, err = d.setAside(newName); err != nil {
			return nil, err
		}
		if err := d.rename(oldName, newName); err != nil {
			return nil, errors.Join(err, a.back())
		}
	default:
		if terr == nil && from.Mode().IsRegular() && etag(from) == etag(to) {
			// It would pass for what it replaces. Where that cannot be helped, it is still what was asked for.
			_ = d.root.Chtimes(oldName, time.Time{}, laterThan(to))
		}
		if err := d.rename(oldName, newName); err != nil {
			return nil, err
		}
		if terr == nil {
			// Over sshfs, two names of one file look like two files, and rename(2) has done nothing.
			if _, err := d.root.Lstat(oldName); err == nil {
				return nil, &fs.PathError{Op: "rename", Path: oldName, Err: errSameFile}
			}
		}
	}
	// The new name first: a power cut in between may leave both, but not neither.
	err = d.syncFolder(path.Dir(newName))
	if err == nil && path.Dir(oldName) != path.Dir(newName) {
		err = d.syncFolder(path.Dir(oldName))
	}
	if err != nil {
		if a != nil { // what was there stays
			if uerr := d.rename(newName, oldName); uerr != nil {
				return nil, errors.Join(err, uerr)
			}
			err = errors.Join(err, a.back())
		}
		return nil, err
	}
	if a != nil { // what replaces it is durable
		rest = a.gone()
	}
	return rest, nil
}
