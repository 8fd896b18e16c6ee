//go:build linux

package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fuseless/magefiles/netlab"
)

const (
	// answerLimit is how long a view may take to answer, with an error, when the
	// link is dead.
	answerLimit = 30 * time.Second
	// viewFiles are that many, so that each access can read one that no cache has.
	viewFiles = 40
)

// viewLab is a lab with a served view, over an emulated link.
type viewLab struct {
	*linkLab
	client http.Client
	host   bool // it is mounted on the host, too
	next   int  // the first file that was not read
}

func newViewLab(t *testing.T) *viewLab {
	t.Helper()
	l := &viewLab{linkLab: newLinkLab(t)}
	needs(t, "mount.davfs")
	for i := range viewFiles {
		l.write(fmt.Sprintf("folder%d/%d", i, i), string(fileContent(i)))
	}
	l.ok("init")
	l.ok("backup")
	l.net.SetLink(broadband)
	l.ok("remoteMount", "serve")
	l.client.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return l.net.DialGuest(ctx, addr)
		},
	}
	return l
}

// fileContent is what the file i holds: noise, of which no part is repeated.
func fileContent(i int) []byte {
	b := make([]byte, 200_000)
	_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(b)
	return b
}

// hostMount mounts it on the host.
func (l *viewLab) hostMount() {
	l.t.Helper()
	needsDavFS(l.t)
	l.ok("hostMount")
	l.host = true
	l.list()
}

// list lists all folders on the host: davfs2 knows no error for one that it has
// never seen, and shows it as empty.
func (l *viewLab) list() {
	l.t.Helper()
	for i := range viewFiles {
		if entries, err := os.ReadDir(filepath.Join(l.mnt, fmt.Sprintf("folder%d", i))); err != nil || len(entries) != 1 {
			l.t.Fatal(entries, err)
		}
	}
}

// ask sends a request to the view's server.
func (l *viewLab) ask(s session, method, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Address+path, nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(s.User, s.Password)
	req.Header.Set("Depth", "1")
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 400 {
		err = fmt.Errorf("%s", resp.Status)
		if resp.StatusCode < 500 { // as if it were the client's fault, or the file gone
			err = fmt.Errorf("%w: %w", errLie, err)
		}
	}
	return b, err
}

// errLie is an answer that is wrong though it does not look so.
var errLie = errors.New("a wrong answer")

// looks are the ways in which the file i is asked for.
func (l *viewLab) looks(i int) map[string]func() error {
	name, s, want := fmt.Sprintf("folder%d/%d", i, i), l.session(), fileContent(i)
	whole := func(got []byte, err error) error {
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("%w: %d bytes of %d, or others", errLie, len(got), len(want))
		}
		return err
	}
	missing := func(err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: %w", errLie, err)
		}
		return err
	}
	looks := map[string]func() error{
		"GET": func() error { return whole(l.ask(s, "GET", "/"+name)) },
		"PROPFIND": func() error {
			b, err := l.ask(s, "PROPFIND", fmt.Sprintf("/folder%d/", i))
			if err == nil && !strings.Contains(string(b), "/"+name+"<") {
				err = fmt.Errorf("%w: %s is not listed in %s", errLie, name, b)
			}
			return err
		},
		"read": func() error { return missing(whole(os.ReadFile(filepath.Join(l.runDir(), "view", name)))) },
	}
	if l.host {
		looks["host"] = func() error { return missing(whole(os.ReadFile(filepath.Join(l.mnt, name)))) }
	}
	return looks
}

// look asks for a file in all ways at once, and returns how each ended.
func (l *viewLab) look(i int) map[string]error {
	type end struct {
		how  string
		err  error
		took time.Duration
	}
	looks, ends, got := l.looks(i), make(chan end, 4), map[string]error{}
	for how, f := range looks {
		go func() {
			start := time.Now()
			err := f()
			ends <- end{how, err, time.Since(start)}
		}()
	}
	limit := time.After(time.Minute)
	for range looks {
		select {
		case e := <-ends:
			got[e.how] = e.err
			l.t.Logf("file %d, %s: %.1f s, %v", i, e.how, e.took.Seconds(), e.err)
			if e.took > answerLimit {
				l.t.Errorf("file %d, %s: answered after %v: %v", i, e.how, e.took, e.err)
			}
			if errors.Is(e.err, errLie) {
				l.t.Errorf("file %d, %s: %v", i, e.how, e.err)
			}
		case <-limit:
			l.t.Fatalf("file %d: no answer within a minute; only %v", i, got)
		}
	}
	return got
}

// works looks at a new file, and fails if that does not work.
func (l *viewLab) works() {
	l.t.Helper()
	l.next++
	for how, err := range l.look(l.next) {
		if err != nil {
			l.t.Errorf("file %d, %s: %v", l.next, how, err)
		}
	}
}

// broken looks at new files for that long: all must fail, in time.
func (l *viewLab) broken(d time.Duration) {
	l.t.Helper()
	for end := time.Now().Add(d); ; {
		l.next++
		for how, err := range l.look(l.next) {
			// What was listed by the host's mount, or ahead of it, the server knows.
			known := how == "PROPFIND" && l.host
			if err == nil && !known {
				l.t.Errorf("file %d, %s: there, though the link is dead", l.next, how)
			}
		}
		if time.Now().After(end) {
			return
		}
		time.Sleep(7 * time.Second) // or the few files are soon used up
	}
}

// recovers waits until all ways work again, without a command.
func (l *viewLab) recovers() {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		l.next++
		good := true
		for _, err := range l.look(l.next) {
			good = good && err == nil
		}
		if good {
			break
		}
		if time.Now().After(end) {
			l.t.Fatal("the view does not recover")
		}
	}
	l.works()
}

// A view over a link that breaks answers with errors, in time, and works again
// when the link does.
func TestViewOverBrokenLink(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		host bool
		away time.Duration
		fail func(l *viewLab) (mend func())
	}{
		{"cut for 10 s", false, 0, (*viewLab).cut},
		{"cut for 120 s, mounted on the host", true, 100 * time.Second, (*viewLab).cut},
		{"stopped sftp-server", true, 0, func(l *viewLab) func() { return l.hung("sftp-server") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newViewLab(t)
			if c.host {
				l.hostMount()
			}
			l.works()
			mend := c.fail(l)
			l.broken(c.away)
			mend()
			l.recovers()
		})
	}
}

func (l *viewLab) cut() func() {
	l.net.Cut()
	return l.net.Restore
}

// Over a thin link that drops packets, a view is slow, and right.
func TestViewOverThinLink(t *testing.T) {
	l := newViewLab(t)
	l.net.SetLink(netlab.Link{RTT: 40 * time.Millisecond, Rate: 1_000_000, Loss: 0.01})
	s := l.session()
	for i := range 2 {
		got, err := l.ask(s, "GET", fmt.Sprintf("/folder%d/%d", i, i))
		if err != nil || !bytes.Equal(got, fileContent(i)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}
