package webdav

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A server that is told to end while something takes its place lets that happen.
func TestEndsBetweenChanges(t *testing.T) {
	t.Parallel() // it waits for the server's patience
	root := t.TempDir()
	write(t, "old", root, "f")
	f := &fakeFS{Dir: newDir(t, root)}
	committing, release := make(chan bool), make(chan bool)
	f.set(faults{onWrite: func(u Upload) Upload { return &slowCommit{u, committing, release} }})
	srv, err := New(f, Options{User: testUser, Password: testPassword, Log: log.New(io.Discard, "", 0)})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	cut := make(chan error)
	go func() {
		req, _ := http.NewRequest("PUT", "http://"+ln.Addr().String()+"/f", strings.NewReader("new"))
		req.SetBasicAuth(testUser, testPassword)
		_, err := http.DefaultTransport.RoundTrip(req)
		cut <- err
	}()
	<-committing
	end()
	if err := <-cut; err == nil {
		t.Error("an answer came, though nothing has happened")
	}
	select {
	case <-served:
		t.Error("the server has ended in the middle of a change")
	default:
	}
	close(release)
	if err := <-served; err != nil {
		t.Error(err)
	}
	if read(t, root, "f") != "new" || ls(t, root) != "f" {
		t.Errorf("%q in %s", read(t, root, "f"), ls(t, root))
	}
}

type slowCommit struct {
	Upload
	committing, release chan bool
}

func (s *slowCommit) Commit() error {
	s.committing <- true
	<-s.release
	return s.Upload.Commit()
}
