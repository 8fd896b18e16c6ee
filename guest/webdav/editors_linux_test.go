package webdav

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

// Vim saves in one of several ways: it writes the file anew after it has renamed the old
// one (backupcopy=no), or writes over it after it has copied it (yes), and then deletes
// the old one, or keeps it. Each is on a folder that davfs2 shows.
func TestVim(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	d := newDavfs2(t, s)
	vim := newProgram(t, s, "vim")
	for i, c := range []struct{ options, backup string }{
		{"nobackup writebackup backupcopy=no", ""},
		{"backup backupcopy=no", "~"},
		{"nobackup writebackup backupcopy=yes", ""},
		{"backup backupcopy=yes", "~"},
		{"nobackup nowritebackup", ""},
		{"nobackup writebackup backupcopy=auto nofsync", ""},
	} {
		name := fmt.Sprintf("größer %d%%.txt", i)
		d.put(name, "the first line\nold\n")
		want := tree{name: "the first line\nnew\n"}
		if c.backup != "" {
			want[name+c.backup] = "the first line\nold\n"
		}
		// With a swap file, as people have it, and in /tmp as anywhere else.
		vim.run("", "vim", "-u", "NONE", "-i", "NONE", "-N", "-e", "-s", "-c", "set encoding=utf-8 swapfile directory=. backupskip= "+c.options,
			"-c", "edit "+d.at(`gr*er\ `+fmt.Sprint(i)+"*.txt"), "-c", "%substitute/old/new/", "-c", "write", "-c", "quit")
		becomes(t, c.options, root, want)
		// For a second davfs2 1.6.1 says that a file is empty whose mode was set after it was
		// written and before it was closed, as vim does. The server has it, see above.
		if !eventually(func() bool { return d.get(name) == want[name] }) {
			t.Errorf("%s: read %q", c.options, d.get(name))
		}
		for name := range want {
			d.remove(name)
		}
	}
}

// LibreOffice makes a lock file, which must not be there, saves into a temporary file, and
// renames that. Its calls are replayed here. Another one, on another machine, finds the lock file.
func TestLibreOffice(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	a := newDavfs2(t, s)
	const (
		doc, lock = "Brief für Ö.odt", ".~lock.Brief für Ö.odt#"
		owner     = ",eve,laptop,29.11.2026 03:00,file:///home/eve/.config/libreoffice/4;"
	)
	exclusively := func(d davfs2) error {
		f, err := os.OpenFile(d.at(lock), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return err
		}
		_, err = f.WriteString(owner)
		return errors.Join(err, f.Close())
	}
	a.put(doc, "old")
	for i := range 3 {
		is, saved := "old", fmt.Sprintf("saved %d", i)
		if i > 0 {
			is = fmt.Sprintf("saved %d", i-1)
		}
		a.done(exclusively(a))
		becomes(t, "opening", root, tree{doc: is, lock: owner})
		b := newDavfs2(t, s)
		if err := exclusively(b); !errors.Is(err, fs.ErrExist) {
			t.Errorf("the other one was let in: %v", err)
		}
		if got := read(t, b.at(lock)); got != owner {
			t.Errorf("the other one reads in the lock file %q", got)
		}
		if warning := b.unmount(); warning != "" {
			t.Errorf("the other one: %s", warning)
		}
		// The document stays open, with a record lock, until it is replaced.
		f, err := os.OpenFile(a.at(doc), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
			t.Errorf("its record lock: %v", err)
		}
		temp, err := os.CreateTemp(a.dir, "lu*.tmp")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := temp.WriteString(saved); err != nil {
			t.Error(err)
		}
		if err := errors.Join(temp.Sync(), temp.Close(), f.Close()); err != nil {
			t.Error(err)
		}
		a.done(os.Rename(temp.Name(), a.at(doc)))
		becomes(t, "saving", root, tree{doc: saved, lock: owner})
		a.remove(lock)
		becomes(t, "closing", root, tree{doc: saved})
		if got := a.get(doc); got != saved {
			t.Errorf("read %q", got)
		}
	}
}
