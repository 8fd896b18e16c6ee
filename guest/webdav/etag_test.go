package webdav

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What was at a name never has the ETag of what is there now, also when another file of the same
// size, of the same second, takes its place: who has the old ETag must not replace what it has not
// seen, nor take 304 for what it has.
func TestETagOfWhatTakesAPlace(t *testing.T) {
	second := time.Now().Truncate(time.Second).Add(time.Hour) // all within it, however long this takes
	for _, how := range []string{"MOVE", "COPY", "DELETE"} {
		for _, twice := range []bool{true, false} { // not: the file system keeps seconds only, as over sshfs
			if how == "DELETE" && !twice {
				continue
			}
			s, root, _ := lockServer(t)
			write := func(name, data string) {
				t.Helper()
				put(t, filepath.Join(root, name), "0")
				if !twice {
					put(t, filepath.Join(root, name), data)
				}
				if err := os.Chtimes(filepath.Join(root, name), second, second); err != nil {
					t.Fatal(err)
				}
				if twice {
					s.do("PUT", "/"+name, strings.NewReader(data)).want(t, 204)
				}
			}
			write("a", "1")
			old := s.do("HEAD", "/a", nil).Header.Get("ETag")
			if how == "DELETE" {
				s.do("DELETE", "/a", nil).want(t, 204)
				write("a", "2")
			} else {
				write("b", "2")
				s.do(how, "/b", nil, "Destination: /a").want(t, 204)
			}
			s.do("GET", "/a", nil, "If-None-Match: "+old).want(t, 200)
			s.do("PUT", "/a", strings.NewReader("lost?"), "If-Match: "+old).want(t, 412)
			if got := read(t, root, "a"); got != "2" {
				t.Errorf("%s: %q", how, got)
			}
		}
	}
}

// An older file in the place of a newer one is news to who has that, and asks by its date as
// macOS does (webdavfs).
func TestOlderFileTakesAPlace(t *testing.T) {
	s, root, _ := lockServer(t, "new", "old")
	for name, age := range map[string]time.Duration{"new": time.Hour, "old": 2 * time.Hour} {
		then := time.Now().Add(-age)
		if err := os.Chtimes(filepath.Join(root, name), then, then); err != nil {
			t.Fatal(err)
		}
	}
	date := s.do("GET", "/new", nil).Header.Get("Last-Modified")
	s.do("GET", "/new", nil, "If-Modified-Since: "+date).want(t, 304)
	s.do("MOVE", "/old", nil, "Destination: /new").want(t, 204)
	if res := s.do("GET", "/new", nil, "If-Modified-Since: "+date).want(t, 200); res.body != "old" {
		t.Errorf("got %q", res.body)
	}
}
