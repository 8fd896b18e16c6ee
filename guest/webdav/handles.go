package webdav

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"sync"
	"time"
)

// Handles is an FS that has each file open once at a time, for all who read it.
//
// The view of a vault has one page cache for all that are open under a name, also if
// the file was replaced in between: sftp knows no inodes, so sshfs, and gocryptfs on
// it, take the old and the new one for the same. Who still reads the old one
// would get parts of the new one, and the other way round, with nothing to tell (Handles
// was made after a test had seen it). So who comes while a file is read gets the
// same file, or, if it was replaced, the reading of the old one ends first, with an
// error.
type Handles struct {
	FS
	mu   sync.Mutex
	open map[string]*handle
}

// overWait is how long who wants a replaced file waits for the readers of the old
// one to end: less than the half minute in which a view is to answer.
const overWait = 20 * time.Second

var errStillRead = refuse(http.StatusServiceUnavailable, "the file was replaced, and the old one is still being read; try again")

// NewHandles is a Handles in front of fsys.
func NewHandles(fsys FS) *Handles { return &Handles{FS: fsys, open: map[string]*handle{}} }

// handle is a file that is open.
type handle struct {
	key   string
	ready chan struct{} // closed when it is open, or could not be opened
	err   error
	file  File
	at    io.ReaderAt // the file, for all but the first reader
	fi    fs.FileInfo

	readers int           // guarded by Handles.mu, like the next
	ending  bool          // over is closed
	over    chan struct{} // closed when it was replaced: reading it is to end
	gone    chan struct{} // closed when nobody has it open any more
}

// Quota is that of the FS, if it knows.
func (h *Handles) Quota(ctx context.Context) (Quota, error) { return quotaOfFS(ctx, h.FS) }

func (h *Handles) Open(ctx context.Context, name string) (File, error) {
	return h.get(ctx, name, false)
}

// OpenIdle is Open for who reads ahead: it neither waits for others that have the file
// open, nor ends their reading. It fails with errNotSmall if there are any.
func (h *Handles) OpenIdle(ctx context.Context, name string) (File, error) {
	return h.get(ctx, name, true)
}

func (h *Handles) get(ctx context.Context, name string, idle bool) (File, error) {
	late := time.After(overWait)
	for {
		fi, err := h.FS.Stat(ctx, name)
		if err != nil {
			return nil, err
		}
		key := handleKey(name, fi)
		h.mu.Lock()
		cur := h.open[key]
		switch {
		case cur == nil:
			cur = &handle{key: key, ready: make(chan struct{}), over: make(chan struct{}), gone: make(chan struct{}), readers: 1}
			h.open[key] = cur
			h.mu.Unlock()
			return h.first(ctx, name, cur)
		case idle:
			h.mu.Unlock()
			return nil, errNotSmall
		}
		h.mu.Unlock()
		select {
		case <-cur.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch {
		case errors.Is(cur.err, fs.ErrNotExist): // it was there a moment ago
			continue
		case cur.err != nil:
			return nil, cur.err
		}
		h.mu.Lock()
		switch {
		case h.open[key] != cur: // it ended meanwhile
			h.mu.Unlock()
			continue
		case !cur.ending && cur.at != nil && sameVersion(fi, cur.fi):
			cur.readers++
			h.mu.Unlock()
			return &sharedFile{handles: h, handle: cur, ReadSeeker: io.NewSectionReader(cur.at, 0, cur.fi.Size())}, nil
		case !cur.ending && !sameVersion(fi, cur.fi):
			cur.ending = true
			close(cur.over)
		}
		h.mu.Unlock()
		select {
		case <-cur.gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late:
			return nil, errStillRead
		}
	}
}

// first opens the file of a handle that is in the map already, so that others
// wait for it.
func (h *Handles) first(ctx context.Context, name string, cur *handle) (_ File, err error) {
	err = errors.New("opening it panicked")
	defer func() {
		if err == nil {
			return
		}
		h.mu.Lock()
		delete(h.open, cur.key)
		h.mu.Unlock()
		cur.err = err
		close(cur.gone)
		close(cur.ready)
	}()
	f, oerr := h.FS.Open(context.WithoutCancel(ctx), name)
	if oerr != nil {
		err = oerr
		return nil, err
	}
	if cur.fi, err = f.Stat(); err != nil {
		f.Close()
		return nil, err
	}
	cur.file = f
	cur.at, _ = f.(io.ReaderAt)
	close(cur.ready)
	return &sharedFile{handles: h, handle: cur, ReadSeeker: f}, nil
}

func sameVersion(a, b fs.FileInfo) bool {
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// sharedFile is what one reader has of a handle: the file itself, or another view of
// it.
type sharedFile struct {
	io.ReadSeeker
	handles *Handles
	handle  *handle
	closed  sync.Once
}

func (f *sharedFile) Stat() (fs.FileInfo, error) { return f.handle.fi, nil }

func (f *sharedFile) Close() (err error) {
	f.closed.Do(func() {
		h := f.handles
		h.mu.Lock()
		f.handle.readers--
		last := f.handle.readers == 0
		if last {
			delete(h.open, f.handle.key)
		}
		h.mu.Unlock()
		if last {
			err = f.handle.file.Close()
			close(f.handle.gone)
		}
	})
	return err
}

// replaced is closed when the file was replaced by another one: what is read from
// then on may be of either.
func (f *sharedFile) replaced() <-chan struct{} { return f.handle.over }
