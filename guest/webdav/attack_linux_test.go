package webdav

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tags is n nested elements, each without an end.
type tags struct{ n int }

func (t *tags) Read(p []byte) (n int, err error) {
	for ; n+3 <= len(p) && t.n > 0; t.n-- {
		n += copy(p[n:], "<a>")
	}
	if n == 0 {
		err = io.EOF
	}
	return n, err
}

// TestAttacks has a real server serve on, in 64 MiB, whatever is sent to it.
func TestAttacks(t *testing.T) {
	const limit = 64 << 10 // KiB
	program := buildGuest(t)
	root := t.TempDir()
	for i := range 2000 {
		write(t, "x", root, "many", fmt.Sprintf("file%04d", i))
	}
	readOnly, readWrite := run(t, program, root, "-read-only"), run(t, program, root)
	all := []*process{readOnly, readWrite}
	auth := "\r\nAuthorization: Basic " + basic()
	serving := func(t *testing.T) {
		t.Helper()
		for _, p := range all {
			if e := p.propfind("/many", "1", macOSPropfind); len(e) != 2001 {
				t.Errorf("%d entries", len(e))
			}
			peak := p.peak()
			t.Logf("at most %d MiB", peak>>10)
			if peak > limit {
				t.Errorf("%d MiB of memory", peak>>10)
			}
		}
	}

	t.Run("nested tags", func(t *testing.T) {
		const n = 1_000_000
		for _, p := range all {
			for _, method := range []string{"PROPFIND", "LOCK", "PROPPATCH", "PUT"} {
				for _, length := range []string{fmt.Sprintf("\r\nContent-Length: %d", 3*n), "\r\nTransfer-Encoding: chunked"} {
					for _, who := range []string{"", auth} {
						head, body := method+" /many HTTP/1.1\r\nDepth: 1"+who+length, io.Reader(&tags{n})
						if strings.HasSuffix(length, "chunked") {
							body = io.MultiReader(strings.NewReader(fmt.Sprintf("%x\r\n", 3*n)), body, strings.NewReader("\r\n0\r\n\r\n"))
						}
						want := "401"
						switch {
						case who == "":
						case p == readOnly && method != "PROPFIND":
							want = "403"
						case method == "PUT":
							want = "405" // it is a folder
						default:
							want = "413"
						}
						if answer, _ := p.flood(head+"\r\nConnection: close", body); !strings.HasPrefix(answer, "HTTP/1.1 "+want) {
							t.Errorf("%s%s: %q, want %s", method, length, answer, want)
						}
					}
				}
			}
		}
		serving(t)
	})

	t.Run("1 GB body", func(t *testing.T) {
		const n = 1 << 30
		for _, method := range []string{"PROPFIND", "PUT", "GET", "HEAD", "OPTIONS", "DELETE", "LOCK", "MOVE", "BREW"} {
			for _, who := range []string{"", auth} {
				answer, sent := readOnly.flood(fmt.Sprintf("%s /none HTTP/1.1\r\nDepth: 0%s\r\nContent-Length: %d", method, who, n), io.LimitReader(zeros{}, n))
				if !strings.HasPrefix(answer, "HTTP/1.1 4") && !(method == "OPTIONS" && strings.HasPrefix(answer, "HTTP/1.1 200")) {
					t.Errorf("%s: %q", method, answer)
				}
				if sent > n/8 { // what lies in the sockets' buffers is sent, too
					t.Errorf("%s: %d MiB of the body were taken", method, sent>>20)
				}
			}
		}
		// One that is wanted goes to the disk.
		readWrite.do("PUT", "/big", io.LimitReader(zeros{}, n)).want(t, 201)
		if fi, err := os.Stat(filepath.Join(root, "big")); err != nil || fi.Size() != n {
			t.Errorf("%v, %v", fi, err)
		}
		readWrite.do("DELETE", "/big", nil).want(t, 204)
		serving(t)
	})

	t.Run("large answers", func(t *testing.T) {
		// Each entry's answer repeats the names of the properties that it does not have.
		body := `<propfind xmlns="DAV:"><prop><a xmlns="` + strings.Repeat("x", xmlMax-200) + `"/></prop></propfind>`
		var clients sync.WaitGroup
		for range 4 {
			clients.Go(func() {
				if answer, _ := readOnly.flood(fmt.Sprintf("PROPFIND /many HTTP/1.1\r\nDepth: 1%s\r\nConnection: close\r\nContent-Length: %d", auth, len(body)), strings.NewReader(body)); !strings.HasPrefix(answer, "HTTP/1.1 207") {
					t.Error(answer)
				}
			})
		}
		clients.Wait()
		serving(t)
	})

	t.Run("large requests at once", func(t *testing.T) {
		body := `<propfind xmlns="DAV:"><prop>` + strings.Repeat("<a/>", xmlMax/4-20) + `</prop></propfind>`
		var clients sync.WaitGroup
		for range 100 {
			clients.Go(func() {
				if answer, _ := readOnly.flood(fmt.Sprintf("PROPFIND / HTTP/1.1\r\nDepth: 0%s\r\nConnection: close\r\nX: %s\r\nContent-Length: %d", auth, strings.Repeat("x", 60_000), len(body)), strings.NewReader(body)); !strings.HasPrefix(answer, "HTTP/1.1 207") {
					t.Error(answer)
				}
			})
		}
		clients.Wait()
		serving(t)
	})

	t.Run("slow clients beyond the cap", func(t *testing.T) {
		const n = 3 * maxConns
		var closed atomic.Int64
		beyond, everyone := make(chan bool), make(chan bool)
		ended := func() {
			switch closed.Add(1) {
			case n - maxConns:
				close(beyond)
			case n:
				close(everyone)
			}
		}
		for i := range n {
			c, err := net.Dial("tcp", readOnly.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			// The last ones send a body that nobody asked for.
			if begin := []string{"", "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 60_000),
				"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
				"PUT /x HTTP/1.1\r\nHost: localhost" + auth + "\r\nContent-Length: 1000\r\n\r\n"}[i%4]; begin != "" {
				io.WriteString(c, begin)
				go func() {
					for tick := time.NewTicker(time.Second); ; <-tick.C {
						if _, err := io.WriteString(c, "x"); err != nil {
							return
						}
					}
				}()
			}
			go func() {
				c.SetReadDeadline(time.Now().Add(6 * headerTimeout))
				if _, err := io.Copy(io.Discard, c); err != nil && os.IsTimeout(err) {
					t.Error("a slow connection stays open")
				}
				ended()
			}()
		}
		<-beyond
		if got := readOnly.raw("OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n"); got != "" {
			t.Errorf("beyond the cap: %q", got)
		}
		<-everyone
		serving(t)
	})
}
