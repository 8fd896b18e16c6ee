//go:build linux

package gocryptfs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Lister lists folders of a mounted vault that hold long names, without the wait that gocryptfs has for
// each: it keeps each in a file of its own, and reads one after the other, which over a long link
// are two round trips for each name. A Lister reads them at once.
type Lister struct {
	root  *os.Root // the vault: its folder, or what sshfs shows of it
	names *names
	slots chan struct{} // of names that are read

	mu  sync.Mutex
	ivs map[string][]byte // directory IVs, by the path of the encrypted folder
}

// The bounds of a Lister.
const (
	ivsMax = 4096 // folders of which it remembers the directory IV
	// longNamesMin is from how many on it is worth it.
	longNamesMin = 3
	// longNamesWidth is how many are read at once, of all folders: sshfs does ten things at once, and
	// others want something of it, too.
	longNamesWidth = 16
)

// OpenLister is a Lister for the vault in the folder vault, whose name key is in the file key as
// JSON. The caller closes it.
func OpenLister(vault, key string) (*Lister, error) {
	b, err := os.ReadFile(key)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	var k NameKey
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, errors.New("the key of its names could not be had")
	}
	n, err := k.cipher()
	if err != nil {
		return nil, err
	}
	r, err := os.OpenRoot(vault)
	if err != nil {
		return nil, err
	}
	l := &Lister{root: r, names: n, slots: make(chan struct{}, longNamesWidth), ivs: map[string][]byte{}}
	go func() { _, _ = l.iv(".") }() // for whoever comes first
	return l, nil
}

// Close closes the vault's folder.
func (l *Lister) Close() error { return l.root.Close() }

// Names are the plaintext names in a folder, which "." or slashes between plaintext names
// name. ok is false if it does not know all of them for certain, and if the folder holds
// hardly a long name: gocryptfs is to be asked, which then finds the encrypted listing in sshfs's
// cache. A name is not known to be of something that can still be opened, no more than
// after readdir(3).
func (l *Lister) Names(folder string) (names []string, ok bool) {
	enc, err := l.encrypt(folder)
	if err != nil {
		l.forget(enc)
		return nil, false
	}
	f, err := l.root.OpenFile(enc, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		l.forget(enc)
		return nil, false
	}
	defer f.Close()
	entries, err := f.Readdirnames(-1)
	if err != nil {
		return nil, false
	}
	var plain, long []string
	for _, e := range entries {
		switch {
		case e == DirIVName, e == ConfigName && folder == ".":
		case !strings.HasPrefix(e, longNamePrefix):
			plain = append(plain, e)
		case !strings.HasSuffix(e, longNameSuffix):
			long = append(long, e)
		}
	}
	if len(long) < longNamesMin {
		return nil, false
	}
	iv, err := l.readIV(f, enc)
	if err != nil {
		return nil, false
	}
	names = make([]string, len(plain)+len(long))
	for i, e := range plain {
		if names[i], err = l.names.decrypt(iv, e); err != nil {
			return nil, false
		}
	}
	g, ctx := errgroup.WithContext(context.Background())
	g.SetLimit(longNamesWidth)
	for i, e := range long {
		g.Go(func() (err error) {
			l.slots <- struct{}{}
			defer func() { <-l.slots }()
			if ctx.Err() == nil { // else another one is unknown
				names[len(plain)+i], err = l.long(f, iv, e)
			}
			return err
		})
	}
	return names, g.Wait() == nil
}

// long is the name of an entry whose encrypted name is in a file beside it.
func (l *Lister) long(folder *os.File, iv []byte, entry string) (string, error) {
	b, err := readAt(folder, entry+longNameSuffix, longNameBytes+1)
	if err != nil {
		return "", err
	}
	if l.names.hash(string(b)) != entry {
		return "", errName
	}
	return l.names.decrypt(iv, string(b))
}

// encrypt is the path of a folder in the vault, or with an error as much of it as is known.
func (l *Lister) encrypt(folder string) (string, error) {
	enc := "."
	if folder == "." {
		return enc, nil
	}
	for name := range strings.SplitSeq(folder, "/") {
		iv, err := l.iv(enc)
		if err != nil {
			return enc, err
		}
		if len(name) > nameMax {
			return enc, errName
		}
		enc = path.Join(enc, l.names.encrypt(iv, name))
	}
	return enc, nil
}

// iv is the directory IV of an encrypted folder, which it may have from before. Then it may be that of
// another folder that was in its place, by which nothing of what is below is found.
func (l *Lister) iv(enc string) ([]byte, error) {
	l.mu.Lock()
	iv := l.ivs[enc]
	l.mu.Unlock()
	if iv != nil {
		return iv, nil
	}
	f, err := l.root.OpenFile(enc, unix.O_PATH|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return l.readIV(f, enc)
}

// readIV reads the directory IV of the open folder f, and remembers it as that of enc.
func (l *Lister) readIV(f *os.File, enc string) ([]byte, error) {
	iv, err := readAt(f, DirIVName, DirIVLen+1)
	if err != nil {
		return nil, err
	}
	if len(iv) != DirIVLen || bytes.Equal(iv, make([]byte, DirIVLen)) { // as gocryptfs's ReadDirIVAt
		return nil, errName
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ivs) >= ivsMax {
		clear(l.ivs)
	}
	l.ivs[enc] = iv
	return iv, nil
}

// forget forgets the directory IVs above an encrypted folder that is not there: one of them is
// of a folder that was replaced.
func (l *Lister) forget(enc string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; enc != "."; enc = path.Dir(enc) {
		delete(l.ivs, enc)
	}
	delete(l.ivs, enc)
}

// readAt is at most max bytes of one of gocryptfs's own files in a folder. No link is followed, and
// nothing waited for that is no file.
func readAt(folder *os.File, name string, max int64) ([]byte, error) {
	c, err := folder.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	cerr := c.Control(func(dir uintptr) {
		for err = unix.EINTR; err == unix.EINTR; {
			fd, err = unix.Openat(int(dir), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		}
	})
	if err = cmp.Or(cerr, err); err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, max))
}
