package webdav

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Dir is a folder as an FS and a WriteFS, on os.Root: no name and no symbolic
// link leads out of it.
//
// It shows regular files, folders, and symbolic links to these inside the
// root. All else is hidden, and does not exist by name either: links that
// leave the root (every absolute one does, as os.Root has it), dangling links,
// links to a folder that they lie in (a client that walks the tree would never end), FIFOs,
// sockets and devices, and the temporary files of uploads.
type Dir struct {
	// OnHidden is told, once per folder, how many entries of it are hidden.
	// It may be nil; it must be set before the first use of the Dir.
	OnHidden func(folder string, n int)

	// ShowReplaced shows what a server that was killed had set aside, which only one that
	// writes brings back; it must be set before the first use of the Dir.
	ShowReplaced bool

	// Names, if it is set, are the names in a folder, in any order, if it has them faster than
	// the folder itself. It must be set before the first use of the Dir.
	Names func(folder string) (names []string, ok bool)

	root  *os.Root
	alone *os.File // see Alone

	moving sync.Mutex        // held while something is renamed
	temps  map[string]string // temporary names in use, and where they are

	mu   sync.Mutex
	told map[string]bool // folders that OnHidden was told about
}

// toldMax bounds the memory for folders already reported; beyond it OnHidden
// is told nothing more.
const toldMax = 10_000

// NewDir opens the folder root. The caller closes the Dir.
func NewDir(root string) (*Dir, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	return &Dir{root: r, temps: map[string]string{}, told: map[string]bool{}}, nil
}

// Close closes the root; files that are open stay usable.
func (d *Dir) Close() error {
	if d.alone != nil {
		d.alone.Close()
	}
	return d.root.Close()
}

func (d *Dir) Stat(_ context.Context, name string) (fs.FileInfo, error) {
	return d.stat("stat", name)
}

func (d *Dir) stat(op, name string) (fs.FileInfo, error) {
	if d.hides(name) {
		return nil, notExist(op, name)
	}
	fi, err := d.root.Lstat(name)
	if err != nil {
		return nil, readError(op, name, err)
	}
	return d.describe(op, name, fi)
}

// describe is stat for what an Lstat has found.
func (d *Dir) describe(op, name string, fi fs.FileInfo) (fs.FileInfo, error) {
	if fi.Mode().Type() == fs.ModeSymlink {
		return d.follow(op, name, d.ancestors(name))
	}
	if !shown(fi) {
		return nil, notExist(op, name)
	}
	return fi, nil
}

// follow describes what the symbolic link name points to, if it is to be seen.
func (d *Dir) follow(op, name string, ancestors func() []fs.FileInfo) (fs.FileInfo, error) {
	fi, err := d.root.Stat(name)
	if err != nil {
		return nil, readError(op, name, err)
	}
	if !shown(fi) {
		return nil, notExist(op, name)
	}
	if fi.IsDir() {
		for _, a := range ancestors() {
			if os.SameFile(a, fi) {
				return nil, notExist(op, name)
			}
		}
	}
	return named{fi, path.Base(name)}, nil
}

// ancestors describes, on its first call, the folders above name.
func (d *Dir) ancestors(name string) func() []fs.FileInfo {
	return sync.OnceValue(func() []fs.FileInfo {
		var all []fs.FileInfo
		for p := name; p != "."; {
			p = path.Dir(p)
			if fi, err := d.root.Stat(p); err == nil {
				all = append(all, fi)
			}
		}
		return all
	})
}

func (d *Dir) ReadDir(_ context.Context, name string) ([]fs.FileInfo, error) {
	infos, hidden, err := d.list(name)
	if err == nil {
		d.tell(name, len(hidden))
	}
	return infos, err
}

func (d *Dir) Entries(_ context.Context, name string) ([]fs.FileInfo, error) {
	infos, hidden, err := d.list(name)
	if err == nil && len(hidden) > 0 {
		err = refuse(403, "it holds something that cannot be shown, and so not be copied: "+strings.ToValidUTF8(path.Join(name, hidden[0]), "?"))
	}
	return infos, err
}

// list reads a folder; hidden are the names of what is not shown.
func (d *Dir) list(name string) (infos []fs.FileInfo, hidden []string, err error) {
	if fi, err := d.stat("readdir", name); err != nil {
		return nil, nil, err
	} else if !fi.IsDir() {
		return nil, nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	entries, err := d.readdir(name)
	if err != nil {
		return nil, nil, err
	}
	ancestors := d.ancestors(path.Join(name, "x"))
	infos = make([]fs.FileInfo, 0, len(entries))
	for _, fi := range entries {
		if d.hides(fi.Name()) {
			continue
		}
		if fi.Mode().Type() == fs.ModeSymlink {
			link := fi.Name()
			fi, err = d.follow("stat", path.Join(name, link), ancestors)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				hidden = append(hidden, link)
				continue
			}
			if err != nil {
				return nil, nil, err
			}
		} else if _, ok := fi.(Unknown); !ok && !shown(fi) {
			hidden = append(hidden, fi.Name())
			continue
		}
		infos = append(infos, fi)
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return cmp.Compare(a.Name(), b.Name()) })
	return infos, hidden, nil
}

func (d *Dir) Open(_ context.Context, name string) (File, error) {
	// Looked at first: opening a FIFO wakes its writer, opening a device may
	// do anything. O_NONBLOCK in case it became a FIFO in between.
	fi, err := d.stat("open", name)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, readError("open", name, err)
	}
	refresh(f)
	if fi, err = f.Stat(); err == nil && !fi.Mode().IsRegular() {
		err = notExist("open", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (d *Dir) tell(folder string, n int) {
	if n == 0 || d.OnHidden == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told[folder] || len(d.told) >= toldMax {
		return
	}
	d.told[folder] = true
	d.OnHidden(folder, n)
}

func shown(fi fs.FileInfo) bool { return fi.IsDir() || fi.Mode().IsRegular() }

func notExist(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// readError makes fs.ErrNotExist of the errors that mean that name does not
// exist, as Dir has it, and leaves all others alone.
func readError(op, name string, err error) error {
	var pe *fs.PathError
	switch {
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENAMETOOLONG):
		return notExist(op, name)
	case errors.As(err, &pe) && pe.Err.Error() == "path escapes from parent":
		// os.errPathEscapes, which is not exported; TestDirHides notices if it changes.
		return notExist(op, name)
	}
	return err
}

// named is a FileInfo under the name of the link that led to it.
type named struct {
	fs.FileInfo
	name string
}

func (n named) Name() string { return n.name }

// linked tells that the entry was reached over a symbolic link.
func (n named) linked() {}

type unknown struct {
	name string
	err  error
}

func (u unknown) Name() string       { return u.name }
func (u unknown) Size() int64        { return 0 }
func (u unknown) Mode() fs.FileMode  { return 0 }
func (u unknown) ModTime() time.Time { return time.Time{} }
func (u unknown) IsDir() bool        { return false }
func (u unknown) Sys() any           { return nil }
func (u unknown) Err() error         { return u.err }
