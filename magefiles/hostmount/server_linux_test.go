package hostmount

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	own "fuseless/guest/webdav"
	"fuseless/magefiles/privilege"

	"golang.org/x/net/webdav"
)

const testPassword = `p"a\s#s 'wörd'`

// server is a WebDAV server on loopback with basic authentication.
type server struct {
	*httptest.Server
	root string
	// hold, once called, leaves every request without an answer until release.
	hold, release func()
	held          <-chan struct{}     // closed at the first request that is held
	full          atomic.Bool         // PUT is answered with 507
	put           func(*http.Request) // sees a PUT before the server; of ownServer only
}

func newServer(t *testing.T) *server {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "grüße.txt"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dav := &webdav.Handler{FileSystem: webdav.Dir(root), LockSystem: webdav.NewMemLS()}
	on, off, held := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := &server{root: root, held: held, hold: sync.OnceFunc(func() { close(on) }), release: sync.OnceFunc(func() { close(off) })}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-on:
			once.Do(func() { close(held) })
			<-off
		default:
		}
		if u, p, _ := r.BasicAuth(); u != "fuseless" || p != testPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if s.full.Load() && r.Method == http.MethodPut {
			w.WriteHeader(http.StatusInsufficientStorage)
			return
		}
		dav.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { s.release(); s.Close() })
	return s
}

// ownServer is the server of this project on the folder root.
func ownServer(t *testing.T, root string, readOnly bool) *server {
	t.Helper()
	d, err := own.NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	h, err := own.New(d, own.Options{User: "fuseless", Password: testPassword, ReadOnly: readOnly})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{root: root}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.put != nil && r.Method == http.MethodPut {
			s.put(r)
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { s.Close(); d.Close() })
	return s
}

// verify is a Spec.Verify: somebody accepts connections at the server's port.
func (s *server) verify(ctx context.Context) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
	if err != nil {
		return errors.New("the server is down")
	}
	return c.Close()
}

func (s *server) spec(t *testing.T) Spec {
	run, err := os.MkdirTemp("/dev/shm", "hostmount-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	return Spec{Vault: "photos", URL: s.URL + "/", User: "fuseless", Password: []byte(testPassword),
		Mountpoint: filepath.Join(t.TempDir(), "it's the view"), RuntimeDir: run, ReadOnly: true, Verify: s.verify}
}

// needDavfs skips without davfs2, a FUSE device, and root.
func needDavfs(t *testing.T) {
	if _, err := privilege.LookPath("mount.davfs"); err != nil {
		t.Skip("davfs2 is not installed")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no FUSE:", err)
	}
	if err := privilege.Check(t.Context()); err != nil {
		t.Skip("neither root nor sudo without a password:", err)
	}
}

// wantNothingLeft fails if anything of spec's mount is left.
func wantNothingLeft(t *testing.T, spec Spec) {
	t.Helper()
	if source, ok, err := Mounted(spec.Mountpoint); ok || err != nil {
		t.Errorf("still mounted: %s, %v", source, err)
	}
	if pids := daemons(spec.Mountpoint); len(pids) > 0 {
		t.Errorf("daemons left: %v", pids)
	}
	spec.ReadOnly = true // the writable one's name begins like it
	if dir, err := cacheDir(spec); err != nil {
		t.Error(err)
	} else if m, _ := filepath.Glob(dir + "*"); len(m) > 0 {
		t.Errorf("cache left: %v", m)
	}
	if m, _ := filepath.Glob(filepath.Join(spec.RuntimeDir, "*")); len(m) > 0 {
		t.Errorf("left in the runtime folder: %v", m)
	}
	if _, err := os.Lstat(spec.Mountpoint); err == nil {
		t.Error("the mountpoint that Mount made is left")
	}
	if m, _ := filepath.Glob(filepath.Join(pidDir, "*"+strings.ReplaceAll(spec.Mountpoint[1:], "/", "-")+"*")); len(m) > 0 {
		t.Errorf("pid file left: %v", m)
	}
}
