package webdav

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// connected is both ends of a connection that a cappedListener accepted.
func connected(t *testing.T, timeout time.Duration) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = (&cappedListener{Listener: ln, max: 1, write: timeout}).Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// large is a file of 100 MiB, more than any socket's buffers hold; it takes no room.
func large(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "large"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(100 << 20); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestClientThatTakesNothingIsGivenUp(t *testing.T) {
	for what, src := range map[string]func() io.Reader{
		"file":   func() io.Reader { return io.LimitReader(large(t), 100<<20) },
		"reader": func() io.Reader { return io.LimitReader(zeros{}, 100<<20) },
	} {
		server, _ := connected(t, 50*time.Millisecond)
		ended := make(chan error, 1)
		go func() {
			n, err := server.(io.ReaderFrom).ReadFrom(src())
			t.Logf("%s: %d bytes, %v", what, n, err)
			ended <- err
		}()
		select {
		case err := <-ended:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: still writing", what)
		}
	}
}

// closing tells when the server closes a file.
type closing struct {
	File
	closed chan struct{}
}

func (c closing) Close() error {
	defer close(c.closed)
	return c.File.Close()
}

func TestServerGivesUpAClientThatTakesNothing(t *testing.T) {
	root := t.TempDir()
	if err := os.Rename(large(t).Name(), filepath.Join(root, "f")); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	f := &fakeFS{Dir: newDir(t, root), faults: faults{onOpen: func(_ string, g File) (File, error) { return closing{g, closed}, nil }}}
	s := start(t, f, true, func(s *Server) { s.writeTimeout = 50 * time.Millisecond })
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic "+basic()+"\r\n\r\n")
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("the file is still open")
	}
	if n, _ := io.Copy(io.Discard, c); n >= 100<<20 {
		t.Error("all came; the test proves nothing")
	}
}

// TestWaitingBetweenWritesIsNoFault: a connection that was idle, or whose source
// is slow, is not a client that takes nothing.
func TestWaitingBetweenWritesIsNoFault(t *testing.T) {
	server, client := connected(t, time.Minute)
	go io.Copy(io.Discard, client)
	long := func() { server.SetWriteDeadline(time.Now().Add(-time.Second)) }
	long()
	if _, err := server.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	r := readerFunc(func(p []byte) (int, error) { long(); return len(p), nil })
	if n, err := server.(io.ReaderFrom).ReadFrom(io.LimitReader(r, 1<<20)); n != 1<<20 || err != nil {
		t.Errorf("reader: %d bytes, %v", n, err)
	}
	long()
	if n, err := server.(io.ReaderFrom).ReadFrom(io.LimitReader(large(t), 100<<20)); n != 100<<20 || err != nil {
		t.Errorf("file: %d bytes, %v", n, err)
	}
	// At the end of the file less comes than was asked for, and no error.
	if n, err := server.(io.ReaderFrom).ReadFrom(io.LimitReader(large(t), 200<<20)); n != 100<<20 || err != nil {
		t.Errorf("short file: %d bytes, %v", n, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
