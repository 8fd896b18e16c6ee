package webdav

import (
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	dav "golang.org/x/net/webdav"
)

// TestDataLoss: what was seen to lose data with golang.org/x/net/webdav as it is loses
// none here. Each case is tried with both: one that the other one passes shows nothing.
func TestDataLoss(t *testing.T) {
	type place struct {
		*testServer
		root  string
		plain bool // x/net
	}
	const whole = "the old contents, whole"
	kept := func(p *place, name, want string) error {
		b, err := os.ReadFile(filepath.Join(p.root, name))
		if err == nil && string(b) != want {
			err = fmt.Errorf("%s holds %.60q", name, b)
		}
		return err
	}
	status := func(p *place, res response, want ...int) error {
		for _, w := range want {
			if res.StatusCode == w {
				return nil
			}
		}
		return fmt.Errorf("it says %d", res.StatusCode)
	}
	for _, c := range []struct {
		what string
		try  func(t *testing.T, p *place) error // what is wrong
	}{
		{"PUT breaks off halfway", func(t *testing.T, p *place) error {
			conn, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "PUT /f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\nContent-Length: 100\r\n\r\nnew", basic())
			conn.(*net.TCPConn).CloseWrite()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			io.Copy(io.Discard, conn) // it has answered, or given up
			conn.Close()
			return kept(p, "f", whole)
		}},
		{"a chunked PUT is shorter than X-Expected-Entity-Length", func(_ *testing.T, p *place) error {
			p.do("PUT", "/f", struct{ io.Reader }{strings.NewReader("short")}, "X-Expected-Entity-Length: 100")
			return kept(p, "f", whole)
		}},
		{"the disk is full during a PUT", func(t *testing.T, p *place) error {
			if err := syscall.Mount("tmpfs", p.root, "tmpfs", 0, "size=256k"); err != nil {
				t.Skipf("mounting a tmpfs needs root: %v", err)
			}
			t.Cleanup(func() { syscall.Unmount(p.root, 0) })
			write(t, whole, p.root, "f")
			again := p
			if !p.plain { // it holds on to the folder beneath
				again = &place{serve(t, newDir(t, p.root), false), p.root, false}
			}
			res := again.do("PUT", "/f", strings.NewReader(strings.Repeat("x", 1<<20)))
			if err := kept(p, "f", whole); err != nil {
				return err
			}
			return status(p, res, 507)
		}},
		{"PUT with Content-Range", func(_ *testing.T, p *place) error {
			p.do("PUT", "/f", strings.NewReader("part"), "Content-Range: bytes 4-7/23")
			return kept(p, "f", whole)
		}},
		{"MOVE of what is not there, with Overwrite: T", func(_ *testing.T, p *place) error {
			p.do("MOVE", "/none", nil, "Destination: /f", "Overwrite: T")
			return kept(p, "f", whole)
		}},
		{"MOVE of a file over its folder", func(_ *testing.T, p *place) error {
			p.do("MOVE", "/a/x", nil, "Destination: /a", "Overwrite: T")
			return kept(p, "a/y", "y")
		}},
		{"COPY of a folder into its own child", func(_ *testing.T, p *place) error {
			p.do("COPY", "/a", nil, "Destination: /a/child")
			if ls(t, filepath.Join(p.root, "a")) != "x y" {
				return fmt.Errorf("the folder has become %s", ls(t, filepath.Join(p.root, "a")))
			}
			return nil
		}},
		{"PUT with If-Match", func(_ *testing.T, p *place) error {
			p.do("PUT", "/f", strings.NewReader("new"), `If-Match: "another"`)
			return kept(p, "f", whole)
		}},
		{"PUT with If-None-Match", func(_ *testing.T, p *place) error {
			p.do("PUT", "/f", strings.NewReader("new"), `If-None-Match: *`)
			return kept(p, "f", whole)
		}},
		{"DELETE of the folder of a locked file", func(_ *testing.T, p *place) error {
			p.do("LOCK", "/a/x", strings.NewReader(lockBody), "Depth: 0")
			p.do("DELETE", "/a", nil)
			return kept(p, "a/x", "x")
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			for _, plain := range []bool{true, false} {
				p := &place{root: t.TempDir(), plain: plain}
				write(t, whole, p.root, "f")
				write(t, "x", p.root, "a", "x")
				write(t, "y", p.root, "a", "y")
				if plain {
					h := httptest.NewServer(&dav.Handler{FileSystem: dav.Dir(p.root), LockSystem: dav.NewMemLS()})
					defer h.Close()
					p.testServer = &testServer{t: t, URL: h.URL, addr: h.Listener.Addr().String()}
				} else {
					p.testServer = serve(t, newDir(t, p.root), false)
				}
				switch err := c.try(t, p); {
				case plain && err == nil:
					t.Error("x/net does not do it")
				case plain:
					t.Logf("x/net: %v", err)
				case err != nil:
					t.Errorf("ours: %v", err)
				}
			}
		})
	}
}
