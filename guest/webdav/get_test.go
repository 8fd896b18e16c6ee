package webdav

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestGet(t *testing.T) {
	s, root := serveDir(t, true)
	data := strings.Repeat("0123456789", 100_000)
	write(t, data, root, "f.bin")
	write(t, "", root, "empty")
	res := s.do("GET", "/f.bin", nil).want(t, 200)
	if res.body != data || res.ContentLength != int64(len(data)) {
		t.Errorf("%d bytes", len(res.body))
	}
	etag, date := res.Header.Get("ETag"), res.Header.Get("Last-Modified")
	if head := s.do("HEAD", "/f.bin", nil).want(t, 200); head.ContentLength != int64(len(data)) || head.Header.Get("ETag") != etag {
		t.Errorf("HEAD: %v", head.Header)
	}
	s.do("GET", "/f.bin", nil, "If-None-Match: "+etag).want(t, 304)
	s.do("GET", "/f.bin", nil, "If-Modified-Since: "+date).want(t, 304)
	s.do("GET", "/f.bin", nil, `If-Match: "other"`).want(t, 412)
	if got := s.do("GET", "/f.bin", nil, "Range: bytes=999995-").want(t, 206).body; got != "56789" {
		t.Errorf("range: %q", got)
	}
	if got := s.do("GET", "/f.bin", nil, "Range: bytes=3-4", "If-Range: "+date).want(t, 206).body; got != "34" {
		t.Errorf("if-range: %q", got)
	}
	if got := s.do("GET", "/f.bin", nil, "Range: bytes=3-4", `If-Range: "old"`).want(t, 200).body; got != data {
		t.Errorf("if-range that does not match: %d bytes", len(got))
	}
	if got := s.do("GET", "/f.bin", nil, "Range: bytes=1-2,10-11").want(t, 206).body; !strings.Contains(got, "\r\n12\r\n") || !strings.Contains(got, "\r\n01\r\n") {
		t.Errorf("ranges: %q", got)
	}
	s.do("GET", "/f.bin", nil, "Range: bytes=9999999-").want(t, 416)
	if got := s.do("GET", "/empty", nil).want(t, 200); got.body != "" || got.ContentLength != 0 {
		t.Errorf("empty: %q", got.body)
	}
	s.do("GET", "/f.bin/x", nil).want(t, 404)
	s.do("GET", "/"+strings.Repeat("x", 300), nil).want(t, 404)
}

func TestNothingRunsInABrowser(t *testing.T) {
	s, root := serveDir(t, true)
	for name, attached := range map[string]bool{
		"a.html": true, "a.HTM": true, "a.xhtml": true, "a.svg": true, "a.xml": true, "a.js": true, "a.mjs": true, "a.xsl": true, "a.pdf": true, "a.swf": true, "noextension": true, "a.mp4": true, "a.mp3": true,
		"a.txt": false, "a.png": false, "a.jpg": false,
	} {
		write(t, "<html><script>alert(1)</script>", root, name)
		res := s.do("GET", "/"+name, nil).want(t, 200)
		if got := res.Header.Get("Content-Disposition") == "attachment"; got != attached {
			t.Errorf("%s (%s): attachment %v", name, res.Header.Get("Content-Type"), got)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(res.Header.Get("Content-Security-Policy"), "sandbox; default-src 'none'; ") {
			t.Errorf("%s: %v", name, res.Header)
		}
	}
	for ctype, want := range map[string]bool{"image/svg+xml": false, "image/svg+xml-compressed": false, "image/x+xml": false, "text/html": false, "text/xml": false, "text/css": false, "text/plain; charset=utf-8": true, "image/webp": true, "imagine/x": false} {
		if inline(ctype) != want {
			t.Errorf("%s is shown in place: %v", ctype, !want)
		}
	}
	// What a browser shows stays out of its cache; other clients' caches go on.
	for _, h := range []string{"Sec-Fetch-Mode: navigate", "Accept: text/html,application/xhtml+xml,*/*;q=0.8"} {
		if got := s.do("GET", "/a.png", nil, h).Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: a browser may cache: %q", h, got)
		}
	}
	if got := s.do("GET", "/a.png", nil, "Accept: */*").Header.Get("Cache-Control"); got != "" {
		t.Errorf("a WebDAV client may not cache: %q", got)
	}
	if got := s.do("GET", "/noextension", nil).Header.Get("Content-Type"); got != "application/octet-stream" {
		t.Errorf("type %s", got)
	}
}

// faultyFile fails after so many bytes.
type faultyFile struct {
	File
	left int
	err  error
}

func (f *faultyFile) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, f.err
	}
	n, err := f.File.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

func TestGetNeverEndsEarlyAsIfWhole(t *testing.T) {
	root := t.TempDir()
	data := strings.Repeat("x", 3*pieceMax)
	write(t, data, root, "f")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, true)
	failing := func(after int, fault error) {
		f.set(faults{onOpen: func(_ string, g File) (File, error) { return &faultyFile{g, after, fault}, nil }})
	}
	failing(0, syscall.EIO)
	s.do("GET", "/f", nil).want(t, 500)
	s.do("GET", "/f", nil, "Range: bytes=10-20").want(t, 500)
	s.do("GET", "/f", nil, "User-Agent: WebDAVFS/3.0.0").want(t, 507)
	failing(0, io.EOF) // the file became shorter
	s.do("GET", "/f", nil).want(t, 500)
	for _, fault := range []error{syscall.EIO, io.EOF} {
		for _, after := range []int{1, 512, pieceMin - 1, pieceMin, 2*pieceMax + 1} {
			failing(after, fault)
			for _, headers := range [][]string{nil, {"Range: bytes=0-3000000"}, {"Range: bytes=0-9,10-3000000"}} {
				req, _ := http.NewRequest("GET", s.URL+"/f", nil)
				req.SetBasicAuth(testUser, testPassword)
				for _, h := range headers {
					req.Header.Set("Range", strings.TrimPrefix(h, "Range: "))
				}
				res, err := http.DefaultTransport.RoundTrip(req)
				if err == nil { // else aborted before a byte left our buffers
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				switch {
				case err == nil && res.StatusCode < 500:
					t.Errorf("%v after %d bytes, %v: status %d, and all seems well", fault, after, headers, res.StatusCode)
				case after < pieceMin && !strings.Contains(strings.Join(headers, ""), ",") && (err != nil || res.StatusCode != 500):
					t.Errorf("%v after %d bytes, %v: %v, though nothing need be sent by then", fault, after, headers, err)
				}
			}
		}
	}
	f.set(faults{onOpen: func(string, File) (File, error) { return nil, syscall.EACCES }})
	s.do("GET", "/f", nil).want(t, 403)
	f.set(faults{onOpen: func(string, File) (File, error) { return nil, fs.ErrNotExist }})
	s.do("GET", "/f", nil).want(t, 404)
}

func TestGetIsOfOneVersion(t *testing.T) {
	root := t.TempDir()
	write(t, "old", root, "f")
	d := newDir(t, root)
	// Replaced after it was described, before it is opened.
	f := &fakeFS{Dir: d}
	replaced := false
	f.onOpen = func(name string, g File) (File, error) {
		if replaced {
			return g, nil
		}
		replaced = true
		g.Close()
		write(t, "newer", root, "g")
		os.Rename(filepath.Join(root, "g"), filepath.Join(root, "f"))
		return d.Open(t.Context(), name)
	}
	s := serve(t, f, true)
	res := s.do("GET", "/f", nil).want(t, 200)
	if res.body != "newer" || res.ContentLength != 5 {
		t.Errorf("got %q", res.body)
	}
	// One that never stands still.
	n := 0
	f.set(faults{onOpen: func(name string, g File) (File, error) {
		n++
		g.Close()
		write(t, strings.Repeat("x", n), root, "f")
		return d.Open(t.Context(), name)
	}})
	s.do("GET", "/f", nil).want(t, 503)
}

// recorder takes a response in.
type recorder struct {
	bytes.Buffer
	header  http.Header
	largest int // bytes that were written at once
}

func (r *recorder) Write(p []byte) (int, error) {
	r.largest = max(r.largest, len(p))
	return r.Buffer.Write(p)
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}

// record has GET /f answered into a recorder.
func record(t *testing.T, fsys FS) (w *recorder, panicked any) {
	t.Helper()
	s, err := New(fsys, Options{User: "u", Password: "p", ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	w = &recorder{header: http.Header{}}
	r, _ := http.NewRequest("GET", "/f", nil)
	r.Host = "localhost"
	r.SetBasicAuth("u", "p")
	defer func() { panicked = recover() }()
	s.ServeHTTP(w, r)
	return w, nil
}

// TestGetAbortsByItself: net/http also closes a connection that got fewer bytes
// than Content-Length says, but this must not hang on that.
func TestGetAbortsByItself(t *testing.T) {
	root := t.TempDir()
	write(t, strings.Repeat("x", 3*pieceMax), root, "f")
	for _, fault := range []error{syscall.EIO, io.EOF} {
		_, panicked := record(t, &fakeFS{Dir: newDir(t, root), faults: faults{onOpen: func(_ string, g File) (File, error) {
			return &faultyFile{g, 2 * pieceMax, fault}, nil
		}}})
		if panicked != http.ErrAbortHandler {
			t.Errorf("%v: panicked with %v", fault, panicked)
		}
	}
}

// What is small is read before the first byte is sent: a part of it is not seen at all.
func TestSmallGetIsWholeOrAnError(t *testing.T) {
	root := t.TempDir()
	write(t, strings.Repeat("x", 4<<10), root, "f")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, true)
	for _, fault := range []error{syscall.EIO, io.EOF} {
		f.set(faults{onOpen: func(_ string, g File) (File, error) { return &faultyFile{g, 4<<10 - 1, fault}, nil }})
		s.do("GET", "/f", nil).want(t, 500)
		s.do("GET", "/f", nil, "Range: bytes=1-").want(t, 206)
	}
}

// Bodies that are read whole and those that are read in pieces, from the beginning and from
// within, are the file's.
func TestGetOfEverySize(t *testing.T) {
	root := t.TempDir()
	s := serve(t, NewHandles(newDir(t, root)), true)
	for _, size := range []int{0, 1, 511, 512, 513, wholeMax - 1, wholeMax, wholeMax + 1, pieceMin, pieceMin + 1, 3 * pieceMin, 2*pieceMax + 3} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i % 251)
		}
		write(t, string(data), root, "f")
		if got := s.do("GET", "/f", nil).want(t, 200).body; got != string(data) {
			t.Errorf("%d bytes of %d, or others", len(got), size)
		}
		if size < 600 {
			continue
		}
		if got := s.do("GET", "/f", nil, "Range: bytes=599-").want(t, 206).body; got != string(data[599:]) {
			t.Errorf("of %d bytes from 599 on: %d, or others", size, len(got))
		}
	}
}

// slowFile needs pieceSoon for each read.
type slowFile struct{ File }

func (f slowFile) Read(p []byte) (int, error) {
	time.Sleep(pieceSoon)
	return f.File.Read(p)
}

// Nobody waits for much that comes slowly, and not everybody has a large buffer.
func TestPieces(t *testing.T) {
	root := t.TempDir()
	data := strings.Repeat("0123456789abcde\n", 3*pieceMax/16+1)
	write(t, data, root, "f")
	get := func(what string, fsys FS, largest int) {
		t.Helper()
		w, panicked := record(t, fsys)
		if panicked != nil || w.String() != data {
			t.Errorf("%s: %d bytes of %d, or others; %v", what, w.Len(), len(data), panicked)
		}
		if w.largest != largest {
			t.Errorf("%s: %d bytes at once, and not %d", what, w.largest, largest)
		}
	}
	get("fast", newDir(t, root), pieceMax)
	get("slow", &fakeFS{Dir: newDir(t, root), faults: faults{onOpen: func(_ string, g File) (File, error) { return slowFile{g}, nil }}}, pieceMin)
	for range largeMax {
		largeUsed <- struct{}{}
	}
	get("one of many", newDir(t, root), pieceMin)
	for range largeMax {
		<-largeUsed
	}
	get("fast again", newDir(t, root), pieceMax)
}

func TestFIFODoesNotHang(t *testing.T) {
	s, root := serveDir(t, true)
	if err := syscall.Mkfifo(filepath.Join(root, "p"), 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.do("GET", "/p", nil).want(t, 404)
		s.do("PROPFIND", "/", nil, "Depth: 1").want(t, 207)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("hangs")
	}
}
