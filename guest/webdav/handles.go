package webdav

import (
	"context"
	"io"
	"io/fs"
	"os"
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
// one to end.
const overWait = 10 * time.Second

// NewHandles is a Handles in front of fsys.
func NewHandles(fsys FS) *Handles { return &Handles{FS: fsys, open: map[string]*handle{}} }

// handle is a file that is open.
type handle struct {
	name  string
	ready chan struct{} // closed when it is open, or could not be opened
	err   error
	file  File
	fi    fs.FileInfo

	readers int           // guarded by Handles.mu, like the next
	ending  bool          // over is closed
	over    chan struct{} // closed when it was replaced: reading it is to end
	gone    chan struct{} // closed when nobody has it open any more
}

// Quota is that of the FS, if it knows.
func (h *Handles) Quota(ctx context.Context) (Quota, error) { return quotaOfFS(ctx, h.FS) }

func (h *Handles) Open(ctx context.Context, name string) (File, error) {
	for {
		h.mu.Lock()
		cur := h.open[name]
		if cur == nil {
			cur = &handle{name: name, ready: make(chan struct{}), over: make(chan struct{}), gone: make(chan struct{}), readers: 1}
			h.open[name] = cur
			h.mu.Unlock()
			return h.first(ctx, cur)
		}
		h.mu.Unlock()
		select {
		case <-cur.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if cur.err != nil {
			return nil, cur.err
		}
		fi, err := h.FS.Stat(ctx, name)
		if err != nil {
			return nil, err
		}
		h.mu.Lock()
		switch at, ok := cur.file.(io.ReaderAt); {
		case h.open[name] != cur: // it ended meanwhile
			h.mu.Unlock()
			continue
		case ok && sameVersion(fi, cur.fi):
			cur.readers++
			h.mu.Unlock()
			return &sharedFile{handles: h, handle: cur, ReadSeeker: io.NewSectionReader(at, 0, cur.fi.Size())}, nil
		case !cur.ending:
			cur.ending = true
			close(cur.over)
		}
		h.mu.Unlock()
		select {
		case <-cur.gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(overWait):
			return nil, errChanged
		}
	}
}

// first opens the file of a handle that is in the map already, so that others
// wait for it.
func (h *Handles) first(ctx context.Context, cur *handle) (File, error) {
	f, err := h.FS.Open(context.WithoutCancel(ctx), cur.name)
	if err == nil {
		if cur.fi, err = f.Stat(); err != nil {
			f.Close()
		}
	}
	if err != nil {
		h.mu.Lock()
		delete(h.open, cur.name)
		h.mu.Unlock()
		cur.err = err
		close(cur.gone)
		close(cur.ready)
		return nil, err
	}
	cur.file = f
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
			delete(h.open, f.handle.name)
		}
		h.mu.Unlock()
		if last {
			err = f.handle.file.Close()
			close(f.handle.gone)
		}
	})
	return err
}

// kernel is the file for sendfile, nil if others may be reading it, too.
func (f *sharedFile) kernel() *os.File {
	k, _ := f.ReadSeeker.(*os.File)
	return k
}

// replaced is closed when the file was replaced by another one: what is read from
// then on may be of either.
func (f *sharedFile) replaced() <-chan struct{} { return f.handle.over }
