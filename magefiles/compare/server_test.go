package compare_test

import (
	"context"
	"crypto/subtle"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/net/webdav"
)

// serve serves root over WebDAV as fuseless does: only what is, or leads inside
// root to, a file or folder is there at all; symlinks inside root are followed.
func serve(t *testing.T, root string) (url string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	h := &webdav.Handler{FileSystem: shown{webdav.Dir(root), r}, LockSystem: webdav.NewMemLS()}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, _ := req.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(user+":"+password), []byte("user:secret")) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, req)
	}))
	// Cleanups run backwards: whoever mounts this unmounts first.
	t.Cleanup(func() { s.Close(); r.Close() })
	return s.URL + "/"
}

type shown struct {
	webdav.Dir
	root *os.Root
}

func (s shown) stat(name string) (fs.FileInfo, error) {
	rel, err := filepath.Rel("/", filepath.Clean("/"+name))
	if err != nil {
		return nil, err
	}
	fi, err := s.root.Stat(rel)
	if err == nil && !fi.Mode().IsRegular() && !fi.IsDir() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fs.ErrNotExist
	}
	return named{fi, filepath.Base(rel)}, nil
}

func (s shown) Stat(_ context.Context, name string) (fs.FileInfo, error) { return s.stat(name) }

func (s shown) OpenFile(ctx context.Context, name string, flag int, perm fs.FileMode) (webdav.File, error) {
	fi, err := s.stat(name)
	if err != nil {
		return nil, err
	}
	return &lazy{shown: s, name: name, info: fi}, nil
}

// named keeps a symlink's own name.
type named struct {
	fs.FileInfo
	name string
}

func (n named) Name() string { return n.name }

// ContentType keeps the server from reading every file that it lists.
func (n named) ContentType(context.Context) (string, error) { return "application/octet-stream", nil }

// lazy opens the file only when it is read.
type lazy struct {
	shown
	name string
	info fs.FileInfo
	f    webdav.File
}

func (l *lazy) open() error {
	if l.f != nil {
		return nil
	}
	f, err := l.Dir.OpenFile(context.Background(), l.name, os.O_RDONLY, 0)
	l.f = f
	return err
}

func (l *lazy) Stat() (fs.FileInfo, error)  { return l.info, nil }
func (l *lazy) Write(p []byte) (int, error) { return 0, fs.ErrPermission }

func (l *lazy) Close() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}

func (l *lazy) Read(p []byte) (int, error) {
	if err := l.open(); err != nil {
		return 0, err
	}
	return l.f.Read(p)
}

func (l *lazy) Seek(offset int64, whence int) (int64, error) {
	if l.f == nil && whence == io.SeekEnd && offset == 0 {
		return l.info.Size(), nil
	}
	if err := l.open(); err != nil {
		return 0, err
	}
	return l.f.Seek(offset, whence)
}

func (l *lazy) Readdir(count int) ([]fs.FileInfo, error) {
	if err := l.open(); err != nil {
		return nil, err
	}
	all, err := l.f.Readdir(count)
	var list []fs.FileInfo
	for _, fi := range all {
		if fi, err := l.stat(l.name + "/" + fi.Name()); err == nil {
			list = append(list, fi)
		}
	}
	return list, err
}
