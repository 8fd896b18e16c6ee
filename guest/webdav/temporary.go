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

// beside is a new name beside name.
func beside(name, prefix string) string {
	var id [temporaryDigits / 2]byte
	rand.Read(id[:]) // never fails, since Go 1.24
	return path.Join(path.Dir(name), prefix+hex.EncodeToString(id[:]))
}

// begin is a new temporary name beside name, which is in use until it is passed to finish,
// discard or removed by hand.
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
// server has left. It reads each folder once, and what it cannot read it leaves alone. It
// returns how many there were.
func (d *Dir) Sweep(ctx context.Context) (removed int) {
	folders := []string{"."}
	for len(folders) > 0 && ctx.Err() == nil {
		folder := folders[len(folders)-1]
		folders = folders[:len(folders)-1]
		for _, e := range d.dirents(folder) {
			p := path.Join(folder, e.Name())
			switch {
			case hasPrefixAndID(e.Name(), temporaryPrefix):
				if d.where(e.Name()) == "" && d.root.RemoveAll(p) == nil {
					removed++
				}
			case e.IsDir() && !isTemporary(e.Name()):
				folders = append(folders, p)
			}
		}
	}
	return removed
}

// dirents are the entries of a folder with their types alone, as far as they can be read.
func (d *Dir) dirents(folder string) []fs.DirEntry {
	f, err := d.root.OpenFile(folder, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	entries, _ := f.ReadDir(-1)
	return entries
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
