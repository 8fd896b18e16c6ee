package webdav

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// replace puts a new file in the place of one, as rsync does.
func replace(t *testing.T, file, data string) {
	t.Helper()
	put(t, file+".new", data)
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, fsys FS, name string) *sharedFile {
	t.Helper()
	f, err := fsys.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return f.(*sharedFile)
}

func readAllOf(t *testing.T, f File) string {
	t.Helper()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Who comes while a file is read gets the same one, from its begin; when nobody reads
// it any more it is opened anew.
func TestHandlesAreShared(t *testing.T) {
	_, f, root, _ := distant(t, "file")
	h := NewHandles(f)
	put(t, filepath.Join(root, "file"), "0123456789")
	a := opened(t, h, "file")
	if _, err := io.ReadFull(a, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	b := opened(t, h, "file")
	f.sameCalls(t, "two readers", "read file")
	if got := readAllOf(t, b); got != "0123456789" {
		t.Errorf("the second: %q", got)
	}
	if got := readAllOf(t, a); got != "456789" {
		t.Errorf("the first: %q", got)
	}
	a.Close()
	if got := readAllOf(t, opened(t, h, "file")); got != "0123456789" {
		t.Errorf("a third: %q", got)
	}
	b.Close()
	b.Close()
	if len(h.open) != 1 {
		t.Errorf("%d are open", len(h.open))
	}
}

// Who wants a file that was replaced while the old one is read waits until that
// reading, which is told to end, has.
func TestHandlesOfReplacedFile(t *testing.T) {
	_, f, root, _ := distant(t, "file")
	h := NewHandles(f)
	put(t, filepath.Join(root, "file"), "old")
	a := opened(t, h, "file")
	replace(t, filepath.Join(root, "file"), "a new one")
	got := make(chan string)
	go func() {
		b := opened(t, h, "file")
		s := readAllOf(t, b)
		b.Close()
		got <- s
	}()
	<-a.replaced()
	select {
	case s := <-got:
		t.Errorf("the new one is opened beside the old one: %q", s)
	case <-time.After(20 * time.Millisecond):
	}
	if s := readAllOf(t, a); s != "old" {
		t.Errorf("%q", s)
	}
	a.Close()
	if s := <-got; s != "a new one" {
		t.Errorf("%q", s)
	}
	if len(h.open) > 0 {
		t.Errorf("%d are left open", len(h.open))
	}
}

// An error of opening is that of all who waited for it, and of nobody later.
func TestHandlesForgetErrors(t *testing.T) {
	_, f, _, _ := distant(t, "file")
	h := NewHandles(f)
	held, broken := make(chan struct{}), errors.New("broken")
	f.set(held, broken)
	errs := make(chan error)
	for range 2 {
		go func() {
			_, err := h.Open(t.Context(), "file")
			errs <- err
		}()
	}
	for len(f.now()) == 0 {
		time.Sleep(time.Millisecond)
	}
	close(held)
	for range 2 {
		if err := <-errs; err != broken {
			t.Error(err)
		}
	}
	f.set(nil, nil)
	if got := readAllOf(t, opened(t, h, "file")); got != "file" {
		t.Errorf("%q", got)
	}
}

// begin asks for a file, and leaves the answer to the caller.
func (s *testServer) begin(path string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err == nil {
		_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\n\r\n", path, basic())
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// TestReplacedWhileServed: a client that reads a file while it is replaced, and
// another one asks for the new one, is not told that it has it all.
func TestReplacedWhileServed(t *testing.T) {
	_, f, root, _ := distant(t)
	const size = 32 << 20
	put(t, filepath.Join(root, "file"), strings.Repeat("o", size))
	s := serve(t, NewAhead(NewHandles(f), nil), true)
	c := s.begin("/file")
	defer c.Close()
	head := make([]byte, 64<<10)
	if _, err := io.ReadFull(c, head); err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(root, "file"), strings.Repeat("n", size))
	if got := s.do("GET", "/file", nil); got.StatusCode != 200 || strings.Trim(got.body, "n") != "" || len(got.body) != size {
		t.Errorf("%d, %d bytes", got.StatusCode, len(got.body))
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	n, err := io.Copy(io.Discard, c)
	if int(n)+len(head) >= size || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("who read the old one got %d bytes in all, %v", int(n)+len(head), err)
	}
}

// A link leads to a file that may be read by its own name, too.
func TestHandlesOfLink(t *testing.T) {
	_, f, root, _ := distant(t, "file")
	f.nodes = true
	if err := os.Symlink("file", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	h := NewHandles(f)
	a, b := opened(t, h, "file"), opened(t, h, "link")
	f.sameCalls(t, "by two names", "read file")
	if readAllOf(t, a) != "file" || readAllOf(t, b) != "file" {
		t.Error("they are not the same")
	}
	a.Close()
	b.Close()
}

// What is read ahead for nobody ends nobody's reading.
func TestFetchingAheadLeavesReaders(t *testing.T) {
	_, f, root, _ := distant(t, "f/1", "f/2", "f/3")
	h := NewHandles(f)
	a := NewAhead(h, nil)
	a.names(t, "f")
	reader := opened(t, h, "f/3")
	replace(t, filepath.Join(root, "f/3"), "a new one")
	a.read(t, "f/1")
	a.read(t, "f/2")
	a.idle(t)
	select {
	case <-reader.replaced():
		t.Error("it is told to end")
	default:
	}
	reader.Close()
	if got := a.read(t, "f/3"); got != "a new one" {
		t.Errorf("%q", got)
	}
}

// Many read while a file is replaced: each gets one version, or an error.
func TestReadersAndReplacements(t *testing.T) {
	_, f, root, _ := distant(t)
	file := filepath.Join(root, "file")
	version := func(i int) string { return strings.Repeat(fmt.Sprintf("%08d", i), 100_000+i) }
	put(t, file, version(0))
	s := serve(t, NewAhead(NewHandles(f), nil), true)
	read := func() (string, error) {
		req, err := http.NewRequest("GET", s.URL+"/file", nil)
		if err != nil {
			return "", err
		}
		req.SetBasicAuth(testUser, testPassword)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != 200 {
			err = errors.New(resp.Status)
		}
		return string(b), err
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var whole atomic.Int64
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := read()
				if err != nil {
					continue
				}
				whole.Add(1)
				if one := got[:8]; strings.ReplaceAll(got, one, "") != "" {
					t.Error("parts of two versions")
					return
				}
			}
		})
	}
	for i := range 50 {
		replace(t, file, version(i+1))
	}
	for whole.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(stop)
	wg.Wait()
	if got, err := read(); err != nil || got != version(50) {
		t.Errorf("at last %d bytes, %v", len(got), err)
	}
}
