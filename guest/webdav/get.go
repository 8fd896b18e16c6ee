package webdav

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"sync"
)

// get answers GET and HEAD: of a folder with a listing, of a file with ranges
// and conditions by http.ServeContent; no file is opened unless its contents are needed.
//
// A client must never take a part for the whole: what cannot be read is a 5xx
// as long as no byte is sent, and an aborted connection after.
func (s *Server) get(w http.ResponseWriter, r *http.Request, name string) {
	const tries = 3 // of a file that is replaced between being described and opened
	for try := 1; ; try++ {
		fi, err := s.fs.Stat(r.Context(), name)
		if err != nil {
			fail(w, r, err)
			return
		}
		if fi.IsDir() {
			s.listing(w, r, name)
			return
		}
		if t, err := http.ParseTime(r.Header.Get("If-Modified-Since")); err == nil && t.Unix() != fi.ModTime().Unix() {
			// What took its place may be older (MOVE): it is another one all the same. RFC 9110
			// 13.1.3 would have 304 for that, but leaves 200 open.
			r.Header.Del("If-Modified-Since")
		}
		c := &content{fi: fi, open: func() (File, error) { return s.fs.Open(r.Context(), name) }, done: make(chan struct{})}
		gw := &getWriter{ResponseWriter: w, header: w.Header().Clone(), content: c}
		c.abort = func() { gw.abort(r) }
		gw.header.Set("ETag", etag(fi))
		ctype := contentType(name)
		gw.header.Set("Content-Type", ctype)
		if !inline(ctype) {
			gw.header.Set("Content-Disposition", "attachment")
		}
		if fromBrowser(r) {
			// Its cache would put the plaintext on a disk. Other clients need
			// theirs, and have it where we know.
			gw.header.Set("Cache-Control", "no-store")
		}
		http.ServeContent(gw, r, "", fi.ModTime(), c)
		gw.sent()
		c.close()
		switch {
		case gw.err == nil:
			gw.commit()
			return
		case gw.committed:
			panic(http.ErrAbortHandler)
		case errors.Is(gw.err, errChanged) && try < tries:
			continue
		}
		fail(w, r, gw.err)
		return
	}
}

var (
	errChanged = refuse(http.StatusServiceUnavailable, "the file is being changed; try again")
	errShort   = refuse(http.StatusInternalServerError, "the file ended early")
)

// content is a file as fi describes it, opened at the first Read. For several
// ranges ServeContent reads in a goroutine, which may outlive it.
type content struct {
	fi    fs.FileInfo
	open  func() (File, error)
	abort func()        // called when the file was replaced while it is read
	done  chan struct{} // closed by close

	mu  sync.Mutex
	off int64
	f   File
	err error
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += c.off
	case io.SeekEnd:
		offset += c.fi.Size()
	}
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	c.off = offset
	if c.f != nil {
		return c.f.Seek(offset, io.SeekStart)
	}
	return offset, nil
}

// file opens the file at the current offset, if it still is the one that the
// headers describe.
func (c *content) file() (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened()
}

func (c *content) opened() (File, error) {
	if c.f != nil || c.err != nil {
		return c.f, c.err
	}
	f, err := c.open()
	if err != nil {
		c.err = err
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && (fi.Size() != c.fi.Size() || !fi.ModTime().Equal(c.fi.ModTime())) {
		err = errChanged
	}
	if err == nil && c.off != 0 {
		_, err = f.Seek(c.off, io.SeekStart)
	}
	if err != nil {
		f.Close()
		c.err = err
		return nil, err
	}
	c.f = f
	if v, ok := f.(interface{ replaced() <-chan struct{} }); ok {
		go func() {
			select {
			case <-v.replaced():
				c.abort()
			case <-c.done:
			}
		}()
	}
	return f, nil
}

func (c *content) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, err := c.opened()
	if err != nil {
		return 0, err
	}
	n, err := f.Read(p)
	c.off += int64(n)
	return n, err
}

func (c *content) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.f != nil {
		c.f.Close()
	}
	c.f, c.err = nil, fs.ErrClosed
	close(c.done)
}

// getWriter holds the headers back until there is a first byte to send, and
// remembers in err what ServeContent ignores.
type getWriter struct {
	http.ResponseWriter
	header    http.Header
	status    int
	committed bool
	content   *content
	err       error

	mu      sync.Mutex
	over    bool // the file was replaced
	sending bool // its bytes are on their way
}

// abort ends the request, whose file was replaced: with another try, or if a part was
// sent, by ending the connection, from which the client sees that it has no more.
func (g *getWriter) abort(r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	if g.sending {
		hangUp(r)
	}
}

// sent says that none of them is on its way any more: what comes next on the
// connection is not ended by what happens to this file.
func (g *getWriter) sent() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sending = false
}

// send says that bytes of the file are sent from here on, unless it was replaced.
func (g *getWriter) send() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return errChanged
	}
	g.sending = true
	return nil
}

func (g *getWriter) Header() http.Header    { return g.header }
func (g *getWriter) WriteHeader(status int) { g.status = status }

func (g *getWriter) commit() {
	if g.committed {
		return
	}
	g.committed = true
	h := g.ResponseWriter.Header()
	clear(h)
	for k, v := range g.header {
		h[k] = v
	}
	if g.status == 0 {
		g.status = http.StatusOK
	}
	g.ResponseWriter.WriteHeader(g.status)
}

func (g *getWriter) Write(p []byte) (int, error) {
	g.commit()
	n, err := g.ResponseWriter.Write(p)
	if err != nil {
		g.err = err
	}
	return n, err
}

// ReadFrom is what ServeContent's io.CopyN calls, with a LimitedReader of the
// content, or of a pipe for several ranges.
func (g *getWriter) ReadFrom(src io.Reader) (int64, error) {
	n, err := g.readFrom(src)
	if err != nil && g.err == nil {
		g.err = err
	}
	return n, err
}

func (g *getWriter) readFrom(src io.Reader) (int64, error) {
	lr, ok := src.(*io.LimitedReader)
	if !ok {
		lr = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	if ok && lr.R == io.Reader(g.content) && lr.N > 0 {
		f, err := g.content.file()
		if err != nil {
			return 0, err
		}
		lr.R = f
		if lr.N > wholeMax {
			return g.readPieces(lr)
		}
	}
	if ok && lr.N > 0 && lr.N <= wholeMax {
		return g.readWhole(lr)
	}
	var first [512]byte
	n, err := io.ReadAtLeast(lr, first[:], 1)
	switch {
	case err != nil && err != io.EOF:
		return 0, err
	case n == 0 && ok && lr.N > 0:
		return 0, errShort
	}
	if err := g.send(); err != nil {
		return 0, err
	}
	g.commit()
	if _, err := g.ResponseWriter.Write(first[:n]); err != nil {
		return 0, err
	}
	rest, err := io.Copy(g.ResponseWriter, lr)
	if err == nil && ok && lr.N > 0 {
		err = errShort
	}
	return int64(n) + rest, err
}

var _ io.ReaderFrom = (*getWriter)(nil)
