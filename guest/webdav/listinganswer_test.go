package webdav

import (
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

func TestListingHeaders(t *testing.T) {
	root := t.TempDir()
	write(t, "data", root, "folder", "f.txt")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, true)
	get := s.do("GET", "/folder", nil).want(t, 200)
	f.set(faults{onReadDir: func([]fs.FileInfo) ([]fs.FileInfo, error) { return nil, errors.New("HEAD reads the folder") }})
	head := s.do("HEAD", "/folder", nil).want(t, 200)
	if f.opens != 0 || f.listing != 1 {
		t.Errorf("%d files opened, the folder read %d times", f.opens, f.listing)
	}
	for k, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Content-Location": "/folder/",
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Content-Disposition": "", "ETag": "",
	} {
		if got := get.Header.Get(k); got != want {
			t.Errorf("%s: %s", k, got)
		}
	}
	csp := get.Header.Get("Content-Security-Policy")
	style := parsePage(t, get.body).texts("style")
	for _, want := range []string{"sandbox allow-downloads;", "default-src 'none';", "style-src 'sha256-" + hash(style) + "';", "form-action 'none';", "base-uri 'none';", "frame-ancestors 'none'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("the policy %q lacks %q", csp, want)
		}
	}
	get.Header.Del("Date")
	head.Header.Del("Date")
	for k := range get.Header {
		if got, want := head.Header.Get(k), get.Header.Get(k); k != "Content-Length" && got != want {
			t.Errorf("HEAD: %s: %s, want %s", k, got, want)
		}
	}
	for _, readOnly := range []bool{true, false} {
		if allow := serve(t, f, readOnly).do("OPTIONS", "/folder/", nil).want(t, 200).Header.Get("Allow"); !strings.HasPrefix(allow, "OPTIONS, GET, HEAD, PROPFIND") {
			t.Errorf("read-only %v: allowed are %s", readOnly, allow)
		}
	}
	s.do("GET", "/folder/f.txt/", nil).want(t, 200) // as ever
	s.do("GET", "/none/", nil).want(t, 404)
}

// TestListingIsWholeOrAnError: a folder that cannot be read is not shown as empty, nor in part.
func TestListingIsWholeOrAnError(t *testing.T) {
	root := t.TempDir()
	write(t, "data", root, "f")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, true)
	for fault, status := range map[error]int{syscall.EIO: 500, fs.ErrPermission: 403, fs.ErrNotExist: 404} {
		f.set(faults{onReadDir: func([]fs.FileInfo) ([]fs.FileInfo, error) { return nil, fault }})
		res := s.do("GET", "/", nil).want(t, status)
		if strings.Contains(res.body, "<") || res.Header.Get("Content-Type") != "text/plain; charset=utf-8" || res.Header.Get("Content-Security-Policy") == listingPolicy {
			t.Errorf("%v: %v %s", fault, res.Header, res.body)
		}
	}
	f.set(faults{onReadDir: func(infos []fs.FileInfo) ([]fs.FileInfo, error) {
		return append(infos, unknown{"secret <b>", fs.ErrPermission}), nil
	}})
	p := parsePage(t, s.do("GET", "/?sort=date", nil).want(t, 200).body)
	if got := p.names() + ", " + p.texts("caption"); got != "f|secret <b>, 1 file, 4 B, 1 unreadable" {
		t.Errorf("got %s", got)
	}
	rows := p.all("tbody")[0].all("tr")
	if got := rows[1]; !strings.Contains(got.text(), "cannot be read") || len(got.all("a"))+len(got.all("time")) > 0 {
		t.Errorf("what cannot be read is shown as %s", got.text())
	}
}

// brokenWriter is a client that goes away in the middle of the page.
type brokenWriter struct {
	header http.Header
	n      int
}

func (w *brokenWriter) Header() http.Header { return w.header }
func (w *brokenWriter) WriteHeader(int)     {}
func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.n++; w.n > 1 {
		return 0, syscall.EPIPE
	}
	return len(p), nil
}

func TestListingAborts(t *testing.T) {
	infos := make([]fs.FileInfo, 5000)
	for i := range infos {
		infos[i] = unknown{strings.Repeat("x", 50), fs.ErrPermission}
	}
	s, err := New(&fakeFS{Dir: newDir(t, t.TempDir()), faults: faults{onReadDir: func([]fs.FileInfo) ([]fs.FileInfo, error) { return infos, nil }}},
		Options{User: "u", Password: "p", ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequest("GET", "/", nil)
	r.Host = "localhost"
	r.SetBasicAuth("u", "p")
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("panicked with %v", v)
		}
	}()
	s.ServeHTTP(&brokenWriter{header: http.Header{}}, r)
}
