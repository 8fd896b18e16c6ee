package webdav

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestReadOnly(t *testing.T) {
	s, root := serveDir(t, true)
	write(t, "data", root, "f")
	for _, p := range []string{"/", "/f", "/none"} {
		res := s.do("OPTIONS", p, nil).want(t, 200)
		if res.Header.Get("DAV") != "1" || res.Header.Get("Allow") != "OPTIONS, GET, HEAD, PROPFIND" {
			t.Errorf("%s: %v", p, res.Header)
		}
	}
	for _, method := range []string{"PUT", "DELETE", "MKCOL", "MOVE", "COPY", "LOCK", "UNLOCK", "PROPPATCH"} {
		res := s.do(method, "/f", strings.NewReader("new"), "Destination: /g").want(t, 403)
		if !strings.HasPrefix(res.body, "read-only: ") || strings.Count(res.body, "\n") != 1 {
			t.Errorf("%s: %q", method, res.body)
		}
	}
	if ls(t, root) != "f" || read(t, root, "f") != "data" {
		t.Error("something was written")
	}
	s.do("POST", "/f", nil).want(t, 405)
}

func TestReadWriteOptions(t *testing.T) {
	s, root := serveDir(t, false)
	write(t, "data", root, "f")
	for _, p := range []string{"/", "/f", "/none"} {
		if got := s.do("OPTIONS", p, nil).want(t, 200).Header.Get("DAV"); got != "1, 2" {
			t.Errorf("%s: DAV: %s", p, got)
		}
	}
}

func TestPut(t *testing.T) {
	s, root := serveDir(t, false)
	s.do("PUT", "/f", strings.NewReader("one")).want(t, 201)
	os.Chmod(filepath.Join(root, "f"), 0o640)
	s.do("PUT", "/f", strings.NewReader("second")).want(t, 204)
	if read(t, root, "f") != "second" {
		t.Errorf("got %q", read(t, root, "f"))
	}
	if fi, _ := os.Stat(filepath.Join(root, "f")); fi.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", fi.Mode())
	}
	s.do("PUT", "/chunked", struct{ io.Reader }{strings.NewReader("12345")}, "X-Expected-Entity-Length: 5").want(t, 201)
	s.do("PUT", "/empty", nil).want(t, 201)
	s.do("PUT", "/none/f", strings.NewReader("x")).want(t, 409)
	s.do("PUT", "/f/x", strings.NewReader("x")).want(t, 409)
	s.do("PUT", "/", strings.NewReader("x")).want(t, 403)
	os.Mkdir(filepath.Join(root, "d"), 0o755)
	s.do("PUT", "/d", strings.NewReader("x")).want(t, 405)
	s.do("PUT", "/"+strings.Repeat("x", 300), strings.NewReader("x")).want(t, 403)
	s.do("PUT", "/.fuseless-upload-"+strings.Repeat("a", 32), strings.NewReader("x")).want(t, 403)
	if got := ls(t, root); got != "chunked d empty f" {
		t.Errorf("the folder holds %s", got)
	}
}

func TestPutLeavesTheOldFileUnlessWhole(t *testing.T) {
	root := t.TempDir()
	write(t, "old", root, "f")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, false)
	check := func(what string) {
		t.Helper()
		if read(t, root, "f") != "old" || ls(t, root) != "f" {
			t.Errorf("%s: %q in %s", what, read(t, root, "f"), ls(t, root))
		}
	}
	body := func() io.Reader { return strings.NewReader("new") }
	chunked := func() io.Reader { return struct{ io.Reader }{body()} }
	s.do("PUT", "/f", body(), "Content-Range: bytes 0-2/10").want(t, 400)
	check("a part")
	s.do("PUT", "/f", chunked(), "X-Expected-Entity-Length: 4").want(t, 400)
	s.do("PUT", "/f", chunked(), "X-Expected-Entity-Length: 2").want(t, 400)
	s.do("PUT", "/f", chunked(), "X-Expected-Entity-Length: x").want(t, 400)
	s.do("PUT", "/f", body(), "X-Expected-Entity-Length: 4").want(t, 400)
	s.do("PUT", "/f", chunked(), "X-Expected-Entity-Length: 9223372036854775807").want(t, 400)
	check("another length than expected")
	got := s.raw("PUT /f HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nAuthorization: Basic " + basic() + "\r\n\r\n3\r\nnew\r\nzz\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("bad chunks: %.40q", got)
	}
	check("bad chunks")

	for what, err := range map[string]struct {
		err    error
		status int
	}{"disk full": {syscall.ENOSPC, 507}, "over quota": {syscall.EDQUOT, 507}, "storage fails": {syscall.EIO, 500}} {
		f.set(faults{onWrite: func(u Upload) Upload { return &faultyUpload{Upload: u, onWrite: err.err} }})
		s.do("PUT", "/f", body()).want(t, err.status)
		check(what + " on write")
		f.set(faults{onWrite: func(u Upload) Upload { return &faultyUpload{Upload: u, onCommit: err.err} }})
		s.do("PUT", "/f", body()).want(t, err.status)
		check(what + " on commit")
	}

	// Broken off: the server must notice, clean up, and answer (to nobody).
	aborted := make(chan bool, 1)
	f.set(faults{onWrite: func(u Upload) Upload { return &faultyUpload{Upload: u, aborted: aborted} }})
	for _, header := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "PUT /f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\n%s\r\n\r\n3\r\nnew\r\n", basic(), header)
		c.Close()
		select {
		case <-aborted:
		case <-time.After(10 * time.Second):
			t.Fatal("the upload was not given up")
		}
		check(header)
	}
}

type faultyUpload struct {
	Upload
	onWrite, onCommit error
	aborted           chan bool
}

func (f *faultyUpload) Write(p []byte) (int, error) {
	if f.onWrite != nil {
		return 0, f.onWrite
	}
	return f.Upload.Write(p)
}

func (f *faultyUpload) Commit() error {
	if f.onCommit != nil {
		f.Upload.Abort()
		return f.onCommit
	}
	return f.Upload.Commit()
}

func (f *faultyUpload) Abort() {
	f.Upload.Abort()
	if f.aborted != nil {
		f.aborted <- true
	}
}

func TestDeleteAndMkcol(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "d", "f")
	write(t, "keep", root, "kept", "f")
	os.Symlink("kept", root+"/link")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, false)
	s.do("DELETE", "/none", nil).want(t, 404)
	s.do("DELETE", "/", nil).want(t, 403)
	s.do("DELETE", "/d", nil).want(t, 204)
	s.do("DELETE", "/link", nil).want(t, 204)
	s.do("MKCOL", "/kept", nil).want(t, 405)
	s.do("MKCOL", "/none/new", nil).want(t, 409)
	s.do("MKCOL", "/new", nil).want(t, 201)
	s.do("MKCOL", "/body", strings.NewReader("x")).want(t, 415)
	if ls(t, root) != "kept new" || read(t, root, "kept", "f") != "keep" {
		t.Errorf("there is %s", ls(t, root))
	}
	f.set(faults{onStat: func(string) error { return syscall.EIO }})
	for _, method := range []string{"DELETE", "COPY", "MOVE", "PROPPATCH", "PUT"} {
		s.do(method, "/kept", strings.NewReader(removeNothing), "Destination: /new").want(t, 500)
	}
}

const lockBody = `<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>`

func TestLock(t *testing.T) {
	s, root := serveDir(t, false)
	const body = lockBody
	write(t, "old", root, "f")
	token := s.do("LOCK", "/f", strings.NewReader(body), "Depth: 0", "Timeout: Second-600").want(t, 200).Header.Get("Lock-Token")
	s.do("PUT", "/f", strings.NewReader("other")).want(t, 423)
	s.do("PUT", "/f", strings.NewReader("wrong"), "If: (<nonsense>)").want(t, 412)
	s.do("PUT", "/f", strings.NewReader("mine"), "If: ("+token+")").want(t, 204)
	s.do("UNLOCK", "/f", nil, "Lock-Token: "+token).want(t, 204)
	if read(t, root, "f") != "mine" {
		t.Errorf("got %q", read(t, root, "f"))
	}
	s.do("LOCK", "/created", strings.NewReader(body), "Depth: 0").want(t, 201)
	s.do("LOCK", "/none/f", strings.NewReader(body), "Depth: 0").want(t, 409)
	if ls(t, root) != "created f" || read(t, root, "created") != "" {
		t.Errorf("there is %s", ls(t, root))
	}
}

// TestLockEmptiesNothing: x/net creates what it could not find, and the file
// may have come since.
func TestLockEmptiesNothing(t *testing.T) {
	root := t.TempDir()
	write(t, "data", root, "f")
	looked := 0
	f := &fakeFS{Dir: newDir(t, root), faults: faults{onStat: func(string) error {
		if looked++; looked == 1 {
			return fs.ErrNotExist
		}
		return nil
	}}}
	serve(t, f, false).do("LOCK", "/f", strings.NewReader(lockBody), "Depth: 0").want(t, 409)
	if read(t, root, "f") != "data" {
		t.Error("LOCK emptied a file")
	}
}

func TestUploadsAreInvisibleUntilCommitted(t *testing.T) {
	root := t.TempDir()
	d := newDir(t, root)
	u, err := d.OpenWrite(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(u, "x")
	if infos, err := d.ReadDir(t.Context(), "."); len(infos) != 0 || err != nil {
		t.Errorf("%v %v", infos, err)
	}
	name := ls(t, root)
	if _, err := d.Stat(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", name, err)
	}
	if err := u.Commit(); err != nil || ls(t, root) != "f" {
		t.Errorf("%v: %s", err, ls(t, root))
	}
}
