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

// What is on its way is .fuseless-upload-<32 hex digits>, beside what it replaces: a rename is
// atomic only within a file system. So is a deleted folder until all of it is gone. What of it a
// killed server leaves is removed by the next one.
//
// A folder, which rename(2) does not replace, lies in .fuseless-replaced-<32 hex digits> of the
// root until what replaces it is in its place; see setAside.
const (
	temporaryPrefix = ".fuseless-upload-"
	replacedPrefix  = ".fuseless-replaced-"
	temporaryDigits = 32
)

func isTemporary(base string) bool {
	return hasPrefixAndID(base, temporaryPrefix) || hasPrefixAndID(base, replacedPrefix)
}

func hasPrefixAndID(base, prefix string) bool {
	digits, ok := strings.CutPrefix(base, prefix)
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

// hides reports whether name, or a folder that it is in, is not shown.
func (d *Dir) hides(name string) bool {
	for e := range strings.SplitSeq(name, "/") {
		if isTemporary(e) && !(d.ShowReplaced && hasPrefixAndID(e, replacedPrefix)) {
			return true
		}
	}
	return false
}

// beside is a new name beside name.
func beside(name, prefix string) string {
	var id [temporaryDigits / 2]byte
	rand.Read(id[:]) // never fails, since Go 1.24
	return path.Join(path.Dir(name), prefix+hex.EncodeToString(id[:]))
}

// begin is a new temporary name beside name, which is in use until it is passed to finish,
// discard or remove.
func (d *Dir) begin(name string) (base string) {
	temp := beside(name, temporaryPrefix)
	base = path.Base(temp)
	d.moving.Lock()
	defer d.moving.Unlock()
	d.temps[base] = temp
	return base
}

// where is the path of a temporary name, also if the folder that it is in was moved.
func (d *Dir) where(base string) string {
	d.moving.Lock()
	defer d.moving.Unlock()
	return d.temps[base]
}

// finish says that a temporary name is no longer in use.
func (d *Dir) finish(base string) {
	d.moving.Lock()
	defer d.moving.Unlock()
	delete(d.temps, base)
}

// discard removes a temporary file, wherever it is by now.
func (d *Dir) discard(base string) {
	d.moving.Lock()
	defer d.moving.Unlock()
	_ = d.root.Remove(d.temps[base])
	delete(d.temps, base)
}

// rename is rename(2). Temporary names go with the folder that they are in.
func (d *Dir) rename(oldName, newName string) error {
	d.moving.Lock()
	defer d.moving.Unlock()
	if err := d.root.Rename(oldName, newName); err != nil {
		return err
	}
	for base, p := range d.temps {
		if rest, ok := strings.CutPrefix(p, oldName+"/"); ok {
			d.temps[base] = path.Join(newName, rest)
		}
	}
	return nil
}

// Sweep removes the temporary names that are not in use, in all folders: those that a killed
// server has left. It reads each folder once; what it cannot read or remove it leaves to the
// next one. removed is how many there were; found is as in Recover, for a server that was killed
// while a folder of this root was its own. Another server on the same folder would take it for
// dead: see Alone.
func (d *Dir) Sweep(ctx context.Context) (removed int, found []string) {
	folders := []string{"."}
	for len(folders) > 0 && ctx.Err() == nil {
		folder := folders[len(folders)-1]
		folders = folders[:len(folders)-1]
		entries, _ := d.dirents(folder)
		for _, e := range entries {
			p := path.Join(folder, e.Name())
			switch {
			case hasPrefixAndID(e.Name(), temporaryPrefix):
				if d.where(e.Name()) == "" && d.scrap(p) == nil {
					removed++
				}
			case hasPrefixAndID(e.Name(), replacedPrefix):
				if folder == "." {
					continue // Recover has seen to those that are not in use
				}
				if said, _ := d.recover(p); said != "" {
					found = append(found, said)
				}
			case e.IsDir():
				folders = append(folders, p)
			}
		}
	}
	return removed, found
}

// scrap removes what nobody is to see again, also where a folder's mode forbids it.
func (d *Dir) scrap(name string) error {
	err := d.root.RemoveAll(name)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	for folders := []string{name}; len(folders) > 0; {
		folder := folders[len(folders)-1]
		folders = folders[:len(folders)-1]
		if err := d.root.Chmod(folder, 0o700); err != nil {
			return err
		}
		entries, err := d.dirents(folder)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() {
				folders = append(folders, path.Join(folder, e.Name()))
			}
		}
	}
	return d.root.RemoveAll(name)
}

// Alone makes sure that no other server of this machine writes into the folder, until Close: each
// would take what the other has under way for what a killed one has left. It fails with
// syscall.EWOULDBLOCK if one does.
func (d *Dir) Alone() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return err
	}
	d.alone = f
	return nil
}

// dirents are the entries of a folder with their types alone.
func (d *Dir) dirents(folder string) ([]fs.DirEntry, error) {
	f, err := d.root.OpenFile(folder, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
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
