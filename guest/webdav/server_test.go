package webdav

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testUser     = "user"
	testPassword = "correct horse: battery"
)

type testServer struct {
	t    *testing.T
	URL  string
	addr string
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve serves fsys on a loopback port until the test ends.
func serve(t *testing.T, fsys FS, readOnly bool) *testServer {
	t.Helper()
	return start(t, fsys, readOnly, func(*Server) {})
}

// start is serve, with a Server that prepare changed.
func start(t *testing.T, fsys FS, readOnly bool, prepare func(*Server)) *testServer {
	t.Helper()
	logged := &lockedBuffer{}
	s, err := New(fsys, Options{User: testUser, Password: testPassword, ReadOnly: readOnly, Log: log.New(logged, "", 0)})
	if err != nil {
		t.Fatal(err)
	}
	prepare(s)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return &testServer{t, "http://" + ln.Addr().String(), ln.Addr().String(), logged}
}

func newDir(t *testing.T, root string) *Dir {
	t.Helper()
	d, err := NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func serveDir(t *testing.T, readOnly bool) (*testServer, string) {
	root := t.TempDir()
	return serve(t, newDir(t, root), readOnly), root
}

type response struct {
	*http.Response
	body string
	err  error // of reading the body
}

// do sends one request with the right credentials; headers are "Name: value".
func (s *testServer) do(method, path string, body io.Reader, headers ...string) response {
	s.t.Helper()
	req, err := http.NewRequest(method, s.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.SetBasicAuth(testUser, testPassword)
	return s.send(req, headers...)
}

func (s *testServer) send(req *http.Request, headers ...string) response {
	s.t.Helper()
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Add(k, v)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return response{res, string(b), err}
}

// raw sends bytes as they are and returns all that comes back until the server closes.
func (s *testServer) raw(request string) string {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, request)
	b, _ := io.ReadAll(c)
	return string(b)
}

func (r response) want(t *testing.T, status int) response {
	t.Helper()
	if r.StatusCode != status {
		t.Errorf("%s %s: status %d, want %d: %s", r.Request.Method, r.Request.URL.Path, r.StatusCode, status, r.body)
	}
	return r
}

func write(t *testing.T, data string, elems ...string) {
	t.Helper()
	name := filepath.Join(elems...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, elems ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elems...))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func ls(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// fakeFS is a Dir with faults, and a count of what is opened. Once it is
// served the faults are changed by set.
type fakeFS struct {
	*Dir
	mu                    sync.Mutex
	opens, stats, listing int
	faults
}

type faults struct {
	onStat    func(name string) error
	onReadDir func(infos []fs.FileInfo) ([]fs.FileInfo, error)
	onOpen    func(name string, f File) (File, error)
	onWrite   func(u Upload) Upload
}

func (f *fakeFS) set(new faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = new
}

func (f *fakeFS) count(n *int) faults {
	f.mu.Lock()
	defer f.mu.Unlock()
	*n++
	return f.faults
}

func (f *fakeFS) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	if on := f.count(&f.stats); on.onStat != nil {
		if err := on.onStat(name); err != nil {
			return nil, err
		}
	}
	return f.Dir.Stat(ctx, name)
}

func (f *fakeFS) ReadDir(ctx context.Context, name string) ([]fs.FileInfo, error) {
	on := f.count(&f.listing)
	infos, err := f.Dir.ReadDir(ctx, name)
	if err == nil && on.onReadDir != nil {
		return on.onReadDir(infos)
	}
	return infos, err
}

func (f *fakeFS) Entries(ctx context.Context, name string) ([]fs.FileInfo, error) {
	on := f.count(&f.listing)
	infos, err := f.Dir.Entries(ctx, name)
	if err == nil && on.onReadDir != nil {
		return on.onReadDir(infos)
	}
	return infos, err
}

func (f *fakeFS) Open(ctx context.Context, name string) (File, error) {
	on := f.count(&f.opens)
	g, err := f.Dir.Open(ctx, name)
	if err == nil && on.onOpen != nil {
		return on.onOpen(name, g)
	}
	return g, err
}

func (f *fakeFS) Stage(ctx context.Context, name string) (Stage, error) {
	s, err := f.Dir.Stage(ctx, name)
	return &fakeStage{s, f}, err
}

type fakeStage struct {
	Stage
	f *fakeFS
}

func (s *fakeStage) OpenWrite(ctx context.Context, at string) (Upload, error) {
	on := s.f.count(new(int))
	u, err := s.Stage.OpenWrite(ctx, at)
	if err == nil && on.onWrite != nil {
		u = on.onWrite(u)
	}
	return u, err
}

func (f *fakeFS) OpenWrite(ctx context.Context, name string) (Upload, error) {
	on := f.count(new(int))
	u, err := f.Dir.OpenWrite(ctx, name)
	if err == nil && on.onWrite != nil {
		u = on.onWrite(u)
	}
	return u, err
}
