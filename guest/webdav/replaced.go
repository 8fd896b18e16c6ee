package webdav

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// In the folder of a thing that was set aside: its path, and the thing.
const (
	asideName  = "name"
	asideThing = "thing"
)

// aside is something that makes room for what replaces it. It lies in a folder of the root,
// where the next server finds it without a look into all folders.
type aside struct {
	d            *Dir
	folder, name string
}

func (a *aside) thing() string { return path.Join(a.folder, asideThing) }

// setAside makes room at name.
func (d *Dir) setAside(name string) (a *aside, err error) {
	a = &aside{d, beside("x", replacedPrefix), name}
	if err := d.root.Mkdir(a.folder, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err == nil {
			return
		}
		// Where a link drops, a rename may have happened that failed.
		if _, lerr := d.root.Lstat(a.thing()); !errors.Is(lerr, fs.ErrNotExist) {
			err = errors.Join(err, a.back())
			return
		}
		a.clear()
	}()
	f, err := d.root.OpenFile(path.Join(a.folder, asideName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return a, err
	}
	_, err = f.WriteString(name)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	for _, folder := range []string{a.folder, "."} {
		if err == nil {
			err = d.syncFolder(folder)
		}
	}
	if err == nil {
		err = d.rename(name, a.thing())
	}
	return a, err
}

// back puts it back, where nothing has taken its place.
func (a *aside) back() error {
	if err := a.d.rename(a.thing(), a.name); err != nil {
		return fmt.Errorf("what was there lies in %s: %w", a.folder, err) // the next server puts it back
	}
	a.clear()
	return nil
}

// clear removes the empty folder, never with a thing in it.
func (a *aside) clear() { _ = a.d.clear(a.folder) }

func (d *Dir) clear(folder string) error {
	if err := d.root.Remove(path.Join(folder, asideName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.root.Remove(folder)
}

// gone gives it up: what replaces it is in its place. rest removes it, and may take long.
func (a *aside) gone() (rest func()) {
	base := a.d.begin("x")
	if err := a.d.root.Rename(a.folder, base); err != nil {
		a.d.finish(base)
		return func() {} // the next server shows it again
	}
	return func() { a.d.remove(base) }
}

// remove removes a temporary folder. What cannot be removed now, the next server tries again.
func (d *Dir) remove(base string) {
	_ = d.scrap(d.where(base))
	d.finish(base)
}

// Recover brings to light what a server that was killed had set aside: in its place if nothing
// is there, else beside it, under another name. It has to come before anybody can put something
// there. found says what it did, a sentence each.
func (d *Dir) Recover() (found []string, err error) {
	entries, err := d.dirents(".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !hasPrefixAndID(e.Name(), replacedPrefix) {
			continue
		}
		said, err := d.recover(e.Name())
		if said != "" {
			found = append(found, said)
		}
		if err != nil {
			return found, fmt.Errorf("%s: %w", e.Name(), err)
		}
	}
	return found, nil
}

// recover is Recover for one folder. The path of what is in it is relative to where that lies,
// which was the root.
func (d *Dir) recover(folder string) (said string, err error) {
	thing := path.Join(folder, asideThing)
	if _, err := d.root.Lstat(thing); errors.Is(err, fs.ErrNotExist) {
		return "", d.clear(folder) // killed before or after
	} else if err != nil {
		return "", err
	}
	name := path.Join(path.Dir(folder), "recovered") // of what has lost its name
	if b, err := d.root.ReadFile(path.Join(folder, asideName)); err == nil && len(b) > 0 && fs.ValidPath(strings.ToValidUTF8(string(b), "x")) {
		name = path.Join(path.Dir(folder), string(b))
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, n := range d.vacant(name, folder) {
		if _, err = d.root.Lstat(n); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err = d.root.Rename(thing, n); err != nil {
			continue // its folder is gone, or the name too long
		}
		said = fmt.Sprintf("%q was being replaced when the server was killed, and is there again", name)
		if n != name {
			said = fmt.Sprintf("%q was being replaced when the server was killed: the old one is %q", name, n)
		}
		if err := d.syncFolder(path.Dir(n)); err != nil {
			return said, err
		}
		return said, d.clear(folder)
	}
	if err == nil {
		err = fs.ErrExist
	}
	return "", err
}

// vacant are the names to try, the first that is free, for something that was called name.
func (d *Dir) vacant(name, folder string) []string {
	mark := " (replaced " + folder[len(folder)-8:] + ")"
	root := path.Dir(folder)
	return []string{name, name + mark, path.Join(root, path.Base(name)+mark), path.Join(root, "replaced"+mark)}
}
