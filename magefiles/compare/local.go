package compare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"
)

// hashers is how many files are read at once.
const hashers = 2

// Local takes a snapshot of the folder root. Only root itself may be reached
// through symlinks; none below is followed, and nothing but folders and regular
// files is opened, so that a FIFO cannot block it.
//
// What fails for one entry is kept in that entry's Err. Local itself fails only
// where there is no folder at root, and when ctx ends; a file system that hangs
// inside a system call holds it longer.
func Local(ctx context.Context, root string) (Tree, error) {
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return Tree{}, fmt.Errorf("snapshot: %w", err)
	}
	if fi, err := os.Stat(root); err != nil {
		return Tree{}, fmt.Errorf("snapshot: %w", err)
	} else if !fi.IsDir() {
		return Tree{}, fmt.Errorf("snapshot: %s is not a folder", root)
	}
	w := &walker{ctx: ctx, root: root, tree: newTree(attributes...), inodes: map[inode][]string{}, files: make(chan job)}
	var hashing sync.WaitGroup
	for range hashers {
		hashing.Go(func() {
			for j := range w.files {
				j.entry.Sum, j.entry.Err = addErr(j.entry.Err, func() (string, error) {
					return hashFile(ctx, j.path, j.entry.Size)
				})
			}
		})
	}
	w.walk(".")
	close(w.files)
	hashing.Wait()
	if err := ctx.Err(); err != nil {
		return Tree{}, fmt.Errorf("snapshot of %s: %w", root, err)
	}
	w.groupLinks()
	return w.tree, nil
}

type inode struct{ dev, ino uint64 }

type job struct {
	path  string
	entry *Entry
}

type walker struct {
	ctx    context.Context
	root   string
	tree   Tree
	inodes map[inode][]string
	files  chan job
}

// walk takes rel and all that is below it.
func (w *walker) walk(rel string) {
	if w.ctx.Err() != nil {
		return
	}
	// Not filepath.Join: it cleans, and a plain concatenation leaves names alone.
	path := w.root
	if rel != "." {
		path += "/" + rel
	}
	e := &Entry{Kind: Unknown}
	w.tree.Entries[rel] = e
	var st unix.Stat_t
	if err := retry(func() error { return unix.Lstat(path, &st) }); err != nil {
		e.Err = "lstat: " + err.Error()
		return
	}
	e.fill(&st)
	if e.Kind != Dir {
		id := inode{uint64(st.Dev), uint64(st.Ino)}
		w.inodes[id] = append(w.inodes[id], rel)
	}
	e.Xattrs, e.Err = addErr(e.Err, func() (map[string]string, error) { return xattrs(path) })
	switch e.Kind {
	case Symlink:
		e.Target, e.Err = addErr(e.Err, func() (string, error) { return os.Readlink(path) })
	case File:
		select {
		case w.files <- job{path, e}:
		case <-w.ctx.Done():
		}
	case Dir:
		var names []string
		names, e.Err = addErr(e.Err, func() ([]string, error) { return list(path) })
		for _, name := range names {
			if rel == "." {
				w.walk(name)
			} else {
				w.walk(rel + "/" + name)
			}
		}
	}
}

// groupLinks sets Inode and Paths of every entry that is not a folder.
func (w *walker) groupLinks() {
	for _, paths := range w.inodes {
		sort.Strings(paths)
		for _, p := range paths {
			w.tree.Entries[p].Inode = paths[0]
			w.tree.Entries[p].Paths = len(paths)
		}
	}
}

// fill sets what lstat tells. The conversions are for darwin, whose Stat_t has
// narrower fields.
func (e *Entry) fill(st *unix.Stat_t) {
	e.Mode = uint32(st.Mode) & 0o7777
	e.UID, e.GID = st.Uid, st.Gid
	e.MTime = time.Unix(int64(st.Mtim.Sec), int64(st.Mtim.Nsec)).UTC()
	e.Links = uint64(st.Nlink)
	e.Blocks = int64(st.Blocks)
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFREG:
		e.Kind, e.Size = File, st.Size
	case unix.S_IFDIR:
		e.Kind = Dir
	case unix.S_IFLNK:
		e.Kind = Symlink
	case unix.S_IFIFO:
		e.Kind = FIFO
	case unix.S_IFSOCK:
		e.Kind = Socket
	case unix.S_IFCHR:
		e.Kind, e.Rdev = CharDev, uint64(st.Rdev)
	case unix.S_IFBLK:
		e.Kind, e.Rdev = BlockDev, uint64(st.Rdev)
	}
}

// list returns the names in a folder, sorted.
func list(path string) ([]string, error) {
	f, err := open(path, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	sort.Strings(names)
	return names, err
}

// open opens path for reading, but no symlink, and without waiting if a FIFO
// took its place. The file stays out of Go's poller: os.Open would add it there,
// for which the kernel asks the FUSE daemon (FUSE_POLL) while it holds the lock
// of this process's epoll. With the server behind the mount in this same process,
// and a daemon of one thread that waits for it (davfs2), both wait for ever.
func open(path string, flags int) (*os.File, error) {
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err == nil {
		if err = unix.SetNonblock(fd, false); err == nil { // else NewFile adds it after all
			return os.NewFile(uintptr(fd), path), nil
		}
		unix.Close(fd)
	}
	return nil, &os.PathError{Op: "open", Path: path, Err: err}
}

// hashFile reads a regular file that lstat said has size bytes.
func hashFile(ctx context.Context, path string, size int64) (string, error) {
	f, err := open(path, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return "", err
	} else if !fi.Mode().IsRegular() {
		return "", errors.New("no longer a regular file")
	}
	return hash(ctx, f, size)
}

// hash is the SHA-256 of all that r gives, in hex; an error unless that is
// exactly size bytes.
func hash(ctx context.Context, r io.Reader, size int64) (string, error) {
	h := sha256.New()
	var n int64
	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		k, err := r.Read(buf)
		h.Write(buf[:k])
		n += int64(k)
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read after %d of %d bytes: %w", n, size, err)
		}
	}
	if n != size {
		return "", fmt.Errorf("read %d bytes, the size is %d", n, size)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// xattrs are all extended attributes that this user may see. A file system
// without them has none.
func xattrs(path string) (map[string]string, error) {
	names, err := xattr.LList(path)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m map[string]string
	for _, name := range names {
		v, err := xattr.LGet(path, name)
		if err != nil {
			return m, err
		}
		if m == nil {
			m = map[string]string{}
		}
		m[name] = string(v)
	}
	return m, nil
}

// addErr runs f and joins its error to the errors before. The path is left out:
// it is the entry's.
func addErr[T any](before string, f func() (T, error)) (T, string) {
	v, err := f()
	if err == nil {
		return v, before
	}
	text := err.Error()
	var pathErr *os.PathError
	var xattrErr *xattr.Error
	switch {
	case errors.As(err, &pathErr):
		text = pathErr.Op + ": " + pathErr.Err.Error()
	case errors.As(err, &xattrErr):
		text = strings.TrimSpace(xattrErr.Op+" "+xattrErr.Name) + ": " + xattrErr.Err.Error()
	}
	if before != "" {
		text = before + "; " + text
	}
	return v, text
}

// retry repeats f while a signal interrupts it, which FUSE lets happen to any
// system call.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
