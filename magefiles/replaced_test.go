//go:build linux

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fuseless/guest/gocryptfs"
)

// replacedSize is more than what is on its way in sockets and caches while a reader
// waits.
const replacedSize = 48 << 20

// seenWithin is how old what a view shows may be (README.md).
const seenWithin = time.Minute

// version is what a file holds in a version: noise, of which no part is repeated.
func version(n int) []byte {
	b := make([]byte, replacedSize)
	_, _ = rand.NewChaCha8([32]byte{'v', byte(n)}).Read(b)
	return b
}

// TestReplacedWhileRead: a backup replaces a file while it is read through the view.
// Each read is wholly of one version, or fails; and the new version is seen
// within the stated time, without anything being mounted anew.
func TestReplacedWhileRead(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	// Of one block and of two, of one MiB and of two: longer and shorter in turn.
	others := map[string]func(n int) string{
		"letter": func(n int) string { return fmt.Sprintf("version %d of the letter", n) },
		"diary":  func(n int) string { return strings.Repeat(fmt.Sprintf("%08d", n), 512*(1+n%2)) },
		"volume": func(n int) string { return strings.Repeat(fmt.Sprintf("%08d", n), 128<<10*(1+n%2)) },
	}
	write := func(n int) {
		l.write("film", string(version(n)))
		for name, of := range others {
			l.write(name, of(n))
		}
	}
	write(0)
	l.ok("init")
	l.ok("backup")
	l.ok("remoteMount", "serve")
	s := l.session()
	get := func(name string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(context.Background(), "GET", "http://"+s.Address+"/"+name, nil)
		must(t, err)
		req.SetBasicAuth(s.User, s.Password)
		resp, err := http.DefaultClient.Do(req)
		if err == nil && resp.StatusCode != 200 {
			resp.Body.Close()
			err = fmt.Errorf("%s", resp.Status)
		}
		return resp, err
	}
	whole := func(name string) ([]byte, error) {
		resp, err := get(name)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	}
	const versions = 2
	for n := range versions {
		slow, err := get("film")
		must(t, err)
		for name, of := range others { // so that all caches know it
			if b, err := whole(name); err != nil || string(b) != of(n) {
				t.Fatalf("%s, version %d: %d bytes, %v", name, n, len(b), err)
			}
		}
		begun := make([]byte, 1<<20)
		_, err = io.ReadFull(slow.Body, begun)
		must(t, err)
		write(n + 1)
		l.ok("backup")
		replaced := time.Now()
		seen := map[string]bool{}
		look := func() {
			for name, of := range others {
				b, err := whole(name)
				switch {
				case err != nil:
					t.Logf("%s, version %d: %v", name, n+1, err)
				case string(b) == of(n+1):
					seen[name] = true
				case string(b) != of(n) || seen[name]:
					t.Errorf("%s, version %d: %d bytes that are not of it, and not of the one before", name, n+1, len(b))
				}
			}
		}
		for range 50 { // while the caches know the old one
			look()
		}
		for was := n; was == n; {
			asked := time.Since(replaced)
			b, err := whole("film")
			switch {
			case err != nil: // as while the two are told apart
				t.Logf("version %d: %v", n+1, err)
			case bytes.Equal(b, version(n+1)):
				was = n + 1
			case !bytes.Equal(b, version(n)):
				t.Fatalf("version %d: what is read is of no version", n+1)
			}
			if was == n && asked > seenWithin {
				t.Fatalf("version %d is not seen within %v", n+1, seenWithin)
			}
		}
		rest, err := io.ReadAll(slow.Body)
		slow.Body.Close()
		got := append(begun, rest...)
		switch {
		case err != nil:
			t.Logf("version %d: who reads it meanwhile gets an error: %v", n, err)
		case !bytes.Equal(got, version(n)):
			t.Errorf("version %d: who reads it while it is replaced gets %d bytes that are of no version", n, len(got))
		}
		for late := false; len(seen) < len(others); time.Sleep(100 * time.Millisecond) { // nothing tells when a cache forgets
			if late {
				t.Fatalf("version %d: only %v are seen", n+1, seen)
			}
			late = time.Since(replaced) > seenWithin
			look()
		}
	}
	l.ok("close")
}

// TestReplacedWhileOpen: somebody has the old file open, and reads it all the time, as
// where memory is short and no page stays; the new one is seen within the stated
// time all the same.
func TestReplacedWhileOpen(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("letter", "old")
	l.ok("init")
	l.ok("backup")
	l.ok("remoteMount")
	encrypted := slices.DeleteFunc(filesBelow(filepath.Join(l.runDir(), "remote")), func(p string) bool {
		return gocryptfs.Virtual(filepath.Base(p)) // its own
	})
	if len(encrypted) != 1 {
		t.Fatalf("on the remote: %v", encrypted)
	}
	old, err := os.Open(encrypted[0])
	must(t, err)
	defer old.Close()
	ended := make(chan struct{})
	defer func() { <-ended }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		defer close(ended)
		for b := make([]byte, 1); ctx.Err() == nil; {
			if _, err := old.ReadAt(b, 0); err != nil {
				t.Errorf("the old file: %v", err)
				return
			}
		}
	}()

	l.write("letter", "new and longer")
	l.ok("backup")
	for done, late := time.Now(), false; ; time.Sleep(100 * time.Millisecond) { // nothing tells when a cache forgets
		// Not opened: that would ask anew. The server does not open what it has open.
		fi, err := os.Stat(filepath.Join(l.runDir(), "view", "letter"))
		must(t, err)
		if fi.Size() == int64(len("new and longer")) {
			break
		}
		if late {
			t.Fatalf("the new letter is not seen within %v", seenWithin)
		}
		late = time.Since(done) > seenWithin
	}
	cancel()
	<-ended
	must(t, old.Close())
	l.ok("close")
}

// TestBackupIsListed: what a backup adds is seen in a view within the stated
// time, also in a folder of which the server thought that nobody changes it.
func TestBackupIsListed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("letters/first", "1")
	l.ok("init")
	l.ok("backup")
	l.ok("remoteMount", "serve")
	quiet := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(l.runDir(), quiet, quiet)) // the last run was long ago
	s := l.session()
	listed := func() string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "PROPFIND", "http://"+s.Address+"/letters/", nil)
		must(t, err)
		req.Header.Set("Depth", "1")
		req.SetBasicAuth(s.User, s.Password)
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		var names []string
		for _, name := range []string{"first", "second"} {
			if strings.Contains(string(b), "/letters/"+name+"<") {
				names = append(names, name)
			}
		}
		return strings.Join(names, " ")
	}
	if got := listed(); got != "first" {
		t.Fatal(got)
	}
	l.write("letters/second", "2")
	l.ok("backup")
	for done := time.Now(); listed() != "first second"; time.Sleep(100 * time.Millisecond) {
		if time.Since(done) > seenWithin {
			t.Fatalf("after %v the view has %q", seenWithin, listed())
		}
	}
}
