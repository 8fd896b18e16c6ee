// Package store is the file system that holds a vault: the remote by SFTP, or
// a folder of the guest. It does the little that rsync does not do: look,
// make the folder, and move what is to be deleted to the trash.
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"

	"golang.org/x/sync/errgroup"

	"fuseless/guest/proto"
	"fuseless/guest/remote"
)

// FS is where a vault lies. Paths are slash-separated; a relative one starts
// at the login folder. It may be used by several goroutines.
type FS interface {
	Lstat(name string) (fs.FileInfo, error)
	ReadDir(name string) ([]fs.FileInfo, error)
	ReadFile(name string, max int64) ([]byte, error)
	// Create writes a new file, and fails if there is one.
	Create(name string, data []byte) error
	// MkdirAll makes name and what is above it; what it makes has mode 0700.
	MkdirAll(name string) error
	// Rename fails if there is something at the new name.
	Rename(from, to string) error
	// Chmod sets permissions and the setuid, setgid and sticky bits.
	Chmod(name string, mode fs.FileMode) error
	// Remove removes a file or an empty folder.
	Remove(name string) error
	Close() error
}

// Open opens the file system of d.
func Open(ctx context.Context, d proto.Destination) (FS, error) {
	if d.Local {
		return local{}, nil
	}
	var said bytes.Buffer
	conn, err := remote.Dial(ctx, d.Socket, remote.Request{Service: remote.ServiceSFTP}, &said)
	if err != nil {
		return nil, err
	}
	s, err := remote.OpenSession(conn)
	if err != nil {
		if proto.CodeOf(err) != proto.Remote || errors.Is(err, proto.ErrLink) {
			return nil, err // not what ssh met
		}
		if e := remote.Explain(said.String(), remote.ExitLost, d.Target, d.SSH); e != nil {
			return nil, e
		}
		return nil, proto.Errorf(proto.Remote, "cannot reach %s: %w", d.Label, err).
			WithHint("check that `sftp` reaches it without a question: %s", d.Label)
	}
	return &sftpFS{s}, nil
}

// width is how many requests are under way at once: each waits for a round
// trip.
const width = 16

// Move moves each of the names below from to the same name below to, making
// folders as needed. Where the new place is taken, folders are merged and files
// get a number: nothing is ever overwritten.
func Move(ctx context.Context, f FS, from, to string, names []string) error {
	if err := f.MkdirAll(to); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(width)
	for _, n := range names {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return move(f, path.Join(from, n), path.Join(to, n))
		})
	}
	return g.Wait()
}

func move(f FS, from, to string) error {
	if err := f.MkdirAll(path.Dir(to)); err != nil {
		return err
	}
	err := f.Rename(from, to)
	if errors.Is(err, fs.ErrPermission) {
		err = renameLocked(f, from, to)
	}
	if err == nil {
		return nil
	}
	src, lerr := f.Lstat(from)
	if errors.Is(lerr, fs.ErrNotExist) {
		return nil // somebody else removed it: that is what we wanted
	}
	if lerr != nil {
		return err
	}
	dst, lerr := f.Lstat(to)
	if lerr != nil {
		return err
	}
	if !src.IsDir() || !dst.IsDir() {
		for i := 1; i < 1000; i++ {
			alt := fmt.Sprintf("%s.%d", to, i)
			if _, lerr := f.Lstat(alt); errors.Is(lerr, fs.ErrNotExist) {
				return f.Rename(from, alt)
			}
		}
		return err
	}
	children, err := f.ReadDir(from)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := move(f, path.Join(from, c.Name()), path.Join(to, c.Name())); err != nil {
			return err
		}
	}
	return f.Remove(from)
}

// locked serializes renameLocked: two of them may need the same folder.
var locked sync.Mutex

// renameLocked renames what is in, or is, a folder that its owner may not
// write: a vault has the modes of the source, and on a remote where we are not
// root they bind us. The modes are put back.
func renameLocked(f FS, from, to string) error {
	locked.Lock()
	defer locked.Unlock()
	parent := path.Dir(from)
	back, err := widen(f, parent)
	if err != nil {
		return err
	}
	defer back(parent)
	// A folder that moves gets another parent, so its own "..", too, changes.
	self, err := widen(f, from)
	if err != nil {
		return err
	}
	if err := f.Rename(from, to); err != nil {
		self(from)
		return err
	}
	self(to)
	return nil
}

// widen lets the owner write a folder. back sets its mode as it was.
func widen(f FS, name string) (back func(name string), err error) {
	fi, err := f.Lstat(name)
	if err != nil {
		return nil, err
	}
	mode := fi.Mode()
	if !fi.IsDir() || mode.Perm()&0o700 == 0o700 {
		return func(string) {}, nil
	}
	if err := f.Chmod(name, mode|0o700); err != nil {
		return nil, err
	}
	return func(name string) { _ = f.Chmod(name, mode) }, nil
}

// RemoveAll removes name and all below it.
func RemoveAll(ctx context.Context, f FS, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fi, err := f.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return f.Remove(name)
	}
	if _, err := widen(f, name); err != nil {
		return err
	}
	children, err := f.ReadDir(name)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(width)
	var dirs []string
	for _, c := range children {
		p := path.Join(name, c.Name())
		if c.IsDir() {
			dirs = append(dirs, p)
			continue
		}
		g.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			return f.Remove(p)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, d := range dirs {
		if err := RemoveAll(ctx, f, d); err != nil {
			return err
		}
	}
	return f.Remove(name)
}

// local is a folder of the guest itself.
type local struct{}

func (local) Lstat(n string) (fs.FileInfo, error) { return os.Lstat(n) }

func (local) ReadDir(n string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(n)
	if err != nil {
		return nil, err
	}
	var infos []fs.FileInfo
	for _, e := range entries {
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, fi)
	}
	return infos, nil
}

func (local) ReadFile(n string, max int64) ([]byte, error) {
	f, err := os.Open(n)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, n, max)
}

func (local) Create(n string, data []byte) error {
	f, err := os.OpenFile(n, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (local) MkdirAll(n string) error { return os.MkdirAll(n, 0o700) }

func (local) Rename(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	}
	return os.Rename(from, to)
}

func (local) Chmod(n string, mode fs.FileMode) error { return os.Chmod(n, mode) }

func (local) Remove(n string) error { return os.Remove(n) }
func (local) Close() error          { return nil }

func readAll(r io.Reader, name string, max int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("%s is larger than %d bytes", name, max)
	}
	return b, err
}
