package webdav

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of what is fetched ahead.
const (
	// aheadAge is for how long a listing may be given out after its reading began. It
	// is what sshfs itself remembers attributes for.
	aheadAge = 20 * time.Second
	// quietAge is the same for a view of which it is known when we changed it, if we did
	// not: only somebody else may have.
	quietAge = 5 * time.Minute
	// contentsAge is for how long contents that nobody has read yet may be given out. A
	// request for them asks first how the file is now, and if it has another size or time
	// they are not.
	contentsAge = 2 * time.Minute
	// aheadWidth is how many folders are listed at once, and how many files are
	// read: over a long link each waits for some round trips.
	aheadWidth = 16

	listingsMax = 100_000 // entries in all listings; each takes about 300 bytes
	subfolders  = 128     // of one folder that are listed ahead, the first by name
	largeFolder = 10_000  // entries: of such folders not many are to be listed at once

	filesMax    = 32 << 20  // bytes of contents
	smallMax    = 256 << 10 // bytes of a file that is read ahead
	filesAhead  = 32        // files that are read ahead of the one that is read
	bytesAhead  = 1 << 20   // bytes: over a slow link who reads waits for them
	orderlyMin  = 2         // so many files of a folder in order, and the next ones are fetched
	readingsMax = 16        // folders of which it is known what is read
	placesMax   = 20_000    // entries of these folders
)

// Ahead is an FS that gets what will be asked for next, from one that is far away:
// the listings of the folders in a folder that was listed, and, once
// the files of a folder are read in the order of their names, the small ones
// that follow. It also keeps listings.
//
// So a listing may be 20 s old, or 5 min if it is known that none of our runs has changed
// the view since. Contents are given out once, wholly as they were, and
// not if the file has another size or time by then. An error is never given to who asks
// later, but who waited for what failed gets it.
type Ahead struct {
	FS
	now      func() time.Time
	listings *shelf[[]fs.FileInfo]
	files    *shelf[*fetched]
	large    atomic.Int64 // when a large folder was listed ahead, ns since 1970

	mu       sync.Mutex
	readings []*reading // the one that was used last at the end
}

// NewAhead is an Ahead in front of fsys. quietSince says whether none of our runs may have
// changed what is in it since a time; nil: that is not known.
func NewAhead(fsys FS, quietSince func(time.Time) bool) *Ahead {
	return newAhead(fsys, time.Now, quietSince)
}

func newAhead(fsys FS, now func() time.Time, quietSince func(time.Time) bool) *Ahead {
	a := &Ahead{FS: fsys, now: now,
		listings: newShelf[[]fs.FileInfo](aheadAge, listingsMax, aheadWidth, now),
		files:    newShelf[*fetched](contentsAge, filesMax, aheadWidth, now)}
	if quietSince != nil {
		a.listings.asOf = func(at time.Time) time.Duration {
			// A listing may be of what sshfs remembered.
			if quietSince(at.Add(-aheadAge)) {
				return quietAge
			}
			return aheadAge
		}
	}
	return a
}

// Quota is that of the FS, if it knows.
func (a *Ahead) Quota(ctx context.Context) (Quota, error) { return quotaOfFS(ctx, a.FS) }

func (a *Ahead) ReadDir(ctx context.Context, name string) ([]fs.FileInfo, error) {
	infos, found, err := a.listings.get(ctx, name)
	if err != nil && !mayPass(err) {
		return nil, err
	}
	if !found {
		at := a.now()
		if infos, err = a.FS.ReadDir(ctx, name); err != nil {
			return nil, err
		}
		a.listings.put(name, at, infos, len(infos)+1)
	}
	a.listed(name, infos)
	n := 0
	for _, fi := range infos {
		if !fi.IsDir() {
			continue
		}
		if n++; n > subfolders || !a.small() {
			break
		}
		below := path.Join(name, fi.Name())
		a.listings.fetch(below, func() ([]fs.FileInfo, int, error) {
			if !a.small() { // since it was begun
				return nil, 0, errNotSmall
			}
			infos, err := a.FS.ReadDir(context.Background(), below)
			if len(infos) > largeFolder {
				a.large.Store(a.now().Round(0).UnixNano())
			}
			return infos, len(infos) + 1, err
		})
	}
	// Nobody is to change what others get, too.
	return slices.Clip(infos), nil
}

// small says whether folders here are of a size that lets many be listed at once: for
// a while after one was not, none is listed ahead.
func (a *Ahead) small() bool {
	d := a.now().Round(0).Sub(time.Unix(0, a.large.Load()))
	return d > aheadAge || d < 0
}

func (a *Ahead) Open(ctx context.Context, name string) (File, error) {
	a.opened(name)
	f, found, err := a.files.take(ctx, name)
	switch {
	case err != nil && !mayPass(err):
		return nil, err
	case found:
		return f.open(), nil
	}
	return a.FS.Open(ctx, name)
}

// mayPass says whether what a fetching met may be otherwise by now, so that who waited
// for it asks again: that would not take as long as on a link that is dead.
func mayPass(err error) bool {
	for _, e := range []error{errNotSmall, fs.ErrNotExist, fs.ErrPermission, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// reading is a folder whose files somebody may be reading in order.
type reading struct {
	folder  string
	infos   []fs.FileInfo // sorted by name
	last    int           // the file that was opened last; -1: none
	orderly int           // so many were opened one after the other, in order
}

// listed notes what can be read in a folder.
func (a *Ahead) listed(folder string, infos []fs.FileInfo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.readings, func(r *reading) bool { return r.folder == folder })
	if i >= 0 {
		r := a.readings[i]
		if r.last >= 0 { // as long as it is read, the place in it counts
			r.last = position(infos, r.infos[r.last].Name())
		}
		r.infos = infos
	} else {
		a.readings = append(a.readings, &reading{folder: folder, infos: infos, last: -1})
	}
	places := 0
	for _, r := range a.readings {
		places += len(r.infos)
	}
	for len(a.readings) > readingsMax || places > placesMax {
		places -= len(a.readings[0].infos)
		a.readings = slices.Delete(a.readings, 0, 1)
	}
}

// position is where a name is in a listing, -1 if it is not there.
func position(infos []fs.FileInfo, name string) int {
	i, ok := slices.BinarySearchFunc(infos, name, func(fi fs.FileInfo, name string) int { return strings.Compare(fi.Name(), name) })
	if !ok {
		return -1
	}
	return i
}

// opened notes that a file is read, and fetches those that will be next.
func (a *Ahead) opened(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	folder := path.Dir(name)
	i := slices.IndexFunc(a.readings, func(r *reading) bool { return r.folder == folder })
	if i < 0 {
		return
	}
	r := a.readings[i]
	a.readings = append(slices.Delete(a.readings, i, i+1), r)
	at := position(r.infos, path.Base(name))
	switch {
	case at < 0:
		return
	case at == r.last: // again, or another part of it
	case r.last >= 0 && at == r.next(r.last):
		r.orderly++
	default:
		r.orderly = 1
	}
	r.last = at
	if r.orderly < orderlyMin {
		return
	}
	files, size := 0, int64(0)
	for i := r.next(at); i < len(r.infos); i = r.next(i) {
		fi := r.infos[i]
		if files++; files > filesAhead {
			return
		}
		if fi.Size() > smallMax {
			continue
		}
		if size += fi.Size(); size > bytesAhead {
			return
		}
		next := path.Join(folder, fi.Name())
		a.files.fetch(next, func() (*fetched, int, error) { return fetchFile(a.FS, next) })
	}
}

// next is the regular file after the one at i.
func (r *reading) next(i int) int {
	for i++; i < len(r.infos); i++ {
		if _, unknown := r.infos[i].(Unknown); !unknown && !r.infos[i].IsDir() {
			break
		}
	}
	return i
}

// fetched is a file that was read whole.
type fetched struct {
	fi   fs.FileInfo
	data []byte
}

var errNotSmall = errors.New("the file is no small one any more, or was being changed")

// fetchFile reads a file, if it stays as it is meanwhile.
func fetchFile(fsys FS, name string) (*fetched, int, error) {
	open := fsys.Open
	if h, ok := fsys.(interface {
		OpenIdle(context.Context, string) (File, error)
	}); ok {
		open = h.OpenIdle
	}
	f, err := open(context.Background(), name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if before.Size() > smallMax {
		return nil, 0, errNotSmall
	}
	data := make([]byte, before.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, 0, err
	}
	if v, ok := f.(interface{ replaced() <-chan struct{} }); ok {
		select {
		case <-v.replaced():
			return nil, 0, errNotSmall
		default:
		}
	}
	after, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !sameVersion(before, after) {
		return nil, 0, errNotSmall
	}
	return &fetched{after, data}, len(data) + 512, nil
}

func (f *fetched) open() File { return &fetchedFile{bytes.NewReader(f.data), f.fi} }

// fetchedFile is a fetched as a File.
type fetchedFile struct {
	*bytes.Reader
	fi fs.FileInfo
}

func (f *fetchedFile) Stat() (fs.FileInfo, error) { return f.fi, nil }
func (f *fetchedFile) Close() error               { return nil }
