package webdav

import (
	"context"
	"io"
	"io/fs"
	"time"
)

// FS is what the server shows. Names are as in io/fs: "." is the root,
// elements are separated by slashes, no element is empty, "." or "..". Unlike
// in io/fs an element may hold any byte but NUL and the slash, as on Linux.
//
// An error that is fs.ErrNotExist becomes 404, so an implementation returns it
// only for what is known not to exist: an I/O error must stay one. A server
// calls the methods concurrently.
type FS interface {
	// Stat describes name, with symbolic links followed. It opens nothing.
	Stat(ctx context.Context, name string) (fs.FileInfo, error)

	// ReadDir describes all entries of a folder, sorted by name, or fails: a
	// part of a listing would look like deleted files. The caller does not change what it gets,
	// which others may have got, too. It opens no file. An
	// entry that is there and cannot be described is an Unknown.
	ReadDir(ctx context.Context, name string) ([]fs.FileInfo, error)

	// Open opens a regular file for reading.
	Open(ctx context.Context, name string) (File, error)
}

// File is an open file.
type File interface {
	io.ReadSeekCloser
	Stat() (fs.FileInfo, error)
}

// Unknown is the FileInfo of an entry of which only the name is known.
type Unknown interface {
	fs.FileInfo
	Err() error // why; never nil
}

// WriteFS is the writing half of a file system. It is not part of FS, since the view
// of a backup has none.
type WriteFS interface {
	// OpenWrite begins to replace, or to create, the file name. Nothing is to
	// be seen under name until Commit.
	OpenWrite(ctx context.Context, name string) (Upload, error)
	// Create makes an empty file, durable on return. The error is fs.ErrExist if there is
	// something, which stays as it is.
	Create(ctx context.Context, name string) error
	Mkdir(ctx context.Context, name string) error
	// Remove removes name with all that is in it, but not what a symbolic link points to. On
	// return name is gone for all who look. rest removes what was in it, which may take long;
	// what it cannot remove is there again, with an error.
	Remove(ctx context.Context, name string) (rest func() error, err error)
	// Rename replaces whatever is at newName; where it fails, that stays. It fails for two
	// names of one file. rest removes what was replaced, which may take long.
	Rename(ctx context.Context, oldName, newName string) (rest func(), err error)
	// Stage begins to replace, or to create, name, which may be a folder with all that is in
	// it.
	Stage(ctx context.Context, name string) (Stage, error)
	// Entries is FS.ReadDir for who is to copy all of a folder: an error if it holds something
	// that is not shown.
	Entries(ctx context.Context, name string) ([]fs.FileInfo, error)
	// Canonical is name with its folders called by their own names, and not by those of symbolic
	// links that lead to them; with whole, name itself, too. Locks are on these names.
	Canonical(ctx context.Context, name string, whole bool) string
}

// Stage is where a copy is made, unseen. It ends with either Commit or Abort; a failed Commit
// leaves nothing to abort, and what was there before.
type Stage interface {
	// Mkdir and OpenWrite make something; "." is what takes the place of the name.
	// Mkdir gives the folder the properties of the folder like and, at the end, its mode.
	Mkdir(ctx context.Context, at, like string, mode fs.FileMode) error
	OpenWrite(ctx context.Context, at string) (Upload, error)
	// Sync makes what is in it durable, so that Commit need not take long.
	Sync() error
	Commit() (rest func(), err error) // durable on return; rest removes what was replaced
	Abort()
}

// Upload is a file on its way. It ends with either Commit or Abort. A failed
// Commit leaves nothing to abort, and the old file or, if only making the rename durable failed,
// the new one: never a part.
type Upload interface {
	io.Writer
	Stat() (fs.FileInfo, error)
	// Sync makes what is written durable, so that Commit need not take long.
	Sync() error
	// SetModTime sets the time that it is to have.
	SetModTime(t time.Time)
	// CopyOf says that it is a copy of name, which fi describes: it is to have its
	// properties and modification time, and not the properties of what it replaces.
	CopyOf(name string, fi fs.FileInfo)
	Commit() error // durable on return
	Abort()
}
