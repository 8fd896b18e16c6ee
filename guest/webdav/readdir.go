package webdav

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readdir reads the folder once. Its entries are described relative to its own
// descriptor (fstatat), so that no parent folder is opened per entry, by all
// processors: that is most of what a listing costs where nothing has to be waited for.
func (d *Dir) readdir(name string) ([]fs.FileInfo, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, readError("readdir", name, err)
	}
	defer f.Close()
	if d.Names != nil {
		var beside sync.WaitGroup
		defer beside.Wait()
		// A view reads something of the folder (the directory IV) before it can describe any entry.
		// That need not wait for the names.
		beside.Go(func() { _, _, _ = describeAll(f, name, []string{".fuseless"}) })
		if names, ok := d.Names(name); ok {
			infos, gone, err := describeEach(f, name, names)
			if err != nil || gone == 0 {
				return infos, err
			}
			// The folder is being changed, or is another one by now: only what f itself says is of one.
		}
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	infos, _, err := describeEach(f, name, names)
	return infos, err
}

// describeEach describes these entries of the open folder f, which is called folder, sorted by
// name. So many are gone meanwhile, and left out.
func describeEach(f *os.File, folder string, names []string) (infos []fs.FileInfo, gone int, err error) {
	slices.Sort(names)
	const alone = 64 // so few are not worth another goroutine
	share := max(alone, (len(names)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	parts := slices.Collect(slices.Chunk(names, share))
	described, missing, errs := make([][]fs.FileInfo, len(parts)), make([]int, len(parts)), make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() { described[i], missing[i], errs[i] = describeAll(f, folder, part) })
	}
	wg.Wait()
	for _, n := range missing {
		gone += n
	}
	return slices.Concat(described...), gone, errors.Join(errs...)
}

// describeAll is describeEach for a part. Of an entry in a folder that can be read but not
// searched (r--) only the name is to be had.
func describeAll(f *os.File, folder string, names []string) (infos []fs.FileInfo, gone int, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return nil, 0, err
	}
	cerr := c.Control(func(fd uintptr) {
		infos = make([]fs.FileInfo, 0, len(names))
		entries := make([]dirEntry, len(names))
		for i, n := range names {
			serr := entries[i].stat(int(fd), n)
			switch {
			case serr == nil:
				infos = append(infos, &entries[i])
			case errors.Is(serr, fs.ErrNotExist):
				gone++
			case errors.Is(serr, fs.ErrPermission):
				infos = append(infos, unknown{n, serr})
			default:
				err = &fs.PathError{Op: "stat", Path: path.Join(folder, n), Err: serr}
				return
			}
		}
	})
	return infos, gone, cmp.Or(err, cerr)
}

// dirEntry is the FileInfo of an entry of a folder. It is small, since listings are kept.
type dirEntry struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified unix.Timespec
}

// stat is lstat(2) of name, relative to the folder.
func (e *dirEntry) stat(folder int, name string) error {
	var st unix.Stat_t
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Fstatat(folder, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	*e = dirEntry{name, st.Size, fileMode(uint32(st.Mode)), st.Mtim}
	return err
}

// fileMode is the type and the permissions of a st_mode (inode(7)).
func fileMode(m uint32) fs.FileMode {
	perm := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFREG:
		return perm
	case unix.S_IFDIR:
		return perm | fs.ModeDir
	case unix.S_IFLNK:
		return perm | fs.ModeSymlink
	case unix.S_IFIFO:
		return perm | fs.ModeNamedPipe
	case unix.S_IFSOCK:
		return perm | fs.ModeSocket
	case unix.S_IFBLK:
		return perm | fs.ModeDevice
	case unix.S_IFCHR:
		return perm | fs.ModeDevice | fs.ModeCharDevice
	}
	return perm | fs.ModeIrregular
}

func (e *dirEntry) Name() string       { return e.name }
func (e *dirEntry) Size() int64        { return e.size }
func (e *dirEntry) Mode() fs.FileMode  { return e.mode }
func (e *dirEntry) ModTime() time.Time { return time.Unix(e.modified.Unix()) }
func (e *dirEntry) IsDir() bool        { return e.mode.IsDir() }
func (e *dirEntry) Sys() any           { return nil }
