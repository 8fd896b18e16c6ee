package webdav

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A lock holds, and is to be seen, by whatever path one comes.
func TestLocksBySecondPath(t *testing.T) {
	s, root, _ := lockServer(t, "a/b/f", "a/b/g")
	for link, to := range map[string]string{"l": "a/b", "a/up": "../a/./b", "ll": "l", "lf": "a/b/f"} {
		if err := os.Symlink(to, root+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	paths := []string{"/a/b", "/l", "/a/up", "/ll", "/l/../a/up"}
	for _, locked := range append(paths, "/lf") {
		depth := "Depth: infinity"
		if locked != "/lf" {
			locked += "/f"
			depth = "Depth: 0"
		}
		token := s.lock(locked, "exclusive", depth)
		for _, p := range paths {
			s.do("PUT", p+"/f", strings.NewReader("x")).want(t, 423)
			s.do("PUT", p+"/g", strings.NewReader("x")).want(t, 204)
			s.do("MOVE", p+"/g", nil, "Destination: /l/f").want(t, 423)
			s.do("MOVE", "/a", nil, "Destination: /c").want(t, 423)
			s.do("LOCK", p+"/f", strings.NewReader(lockInfo("shared"))).want(t, 423)
			s.do("PUT", p+"/f", strings.NewReader("y"), "If: <"+p+"/f> ("+token+")").want(t, 204)
			s.do("PUT", p+"/f", strings.NewReader("y"), "If: <"+locked+"> ("+token+")").want(t, 204)
			for _, depth := range []string{"0", "1"} {
				path := map[string]string{"0": p + "/f", "1": p}[depth]
				res := s.do("PROPFIND", path, strings.NewReader(`<D:propfind xmlns:D="DAV:"><D:prop><D:lockdiscovery/></D:prop></D:propfind>`), "Depth: "+depth)
				if n := strings.Count(res.body, "<D:activelock>"); n != 1 {
					t.Errorf("%s locked: %s depth %s shows %d locks", locked, path, depth, n)
				}
			}
		}
		s.do("UNLOCK", "/ll/f", nil, "Lock-Token: "+token).want(t, 204)
	}
	token := s.lock("/ll", "exclusive", "Depth: infinity")
	for _, p := range paths {
		s.do("PUT", p+"/new", strings.NewReader("x")).want(t, 423)
	}
	s.do("DELETE", "/ll", nil).want(t, 204) // the link alone
	s.do("UNLOCK", "/a/b", nil, "Lock-Token: "+token).want(t, 204)
	s.do("PUT", "/l/new", strings.NewReader("x")).want(t, 201)
	if got := ls(t, root) + "|" + ls(t, root+"/a/b"); got != "a l lf|f g new" {
		t.Errorf("there is %s", got)
	}
}

// Nothing can be written, or locked, by a path by which nothing can be read.
func TestHiddenPathsCannotBeWritten(t *testing.T) {
	s, root, _ := lockServer(t, "a/f", "g")
	links := map[string]string{"dangling": "new", "a/up": "..", "c0": "a"}
	for i := range 9 { // os.Root follows eight
		links[fmt.Sprintf("c%d", i+1)] = fmt.Sprintf("c%d", i)
	}
	for link, to := range links {
		if err := os.Symlink(to, root+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	before := ls(t, root)
	for _, p := range []string{"/dangling", "/a/up", "/c9/f", "/c9/new"} {
		s.do("GET", p, nil).want(t, 404)
		for method, body := range map[string]string{"PUT": "x", "MKCOL": "", "LOCK": lockInfo("exclusive"), "PROPPATCH": setModTime, "DELETE": ""} {
			if res := s.do(method, p, strings.NewReader(body)); res.StatusCode < 400 {
				t.Errorf("%s %s: %d", method, p, res.StatusCode)
			}
		}
	}
	s.do("PUT", "/g", strings.NewReader("x")).want(t, 204) // nothing is locked
	if got := ls(t, root) + "|" + ls(t, root+"/a"); got != before+"|f up" || read(t, root, "a", "f") != "a/f" {
		t.Errorf("there is %s; it was %s", got, before)
	}
}

// The token of a lock counts for the link by which it was made, too, without a tag (RFC 4918 10.4.2).
func TestTokenOfALinkWithoutATag(t *testing.T) {
	s, root, _ := lockServer(t, "d/f")
	const nfc, nfd = "%C3%A9", "e%CC%81"
	for link, to := range map[string]string{"lf": "d/f", "\u00e9": "d"} {
		if err := os.Symlink(to, root+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	token := s.lock("/lf", "exclusive")
	for _, p := range []string{"/" + nfc, "/" + nfd} { // the lock shows by whatever form of the name
		if res := s.do("PROPFIND", p, strings.NewReader(`<D:propfind xmlns:D="DAV:"><D:prop><D:lockdiscovery/></D:prop></D:propfind>`), "Depth: 1"); strings.Count(res.body, "<D:activelock>") != 1 {
			t.Errorf("%s: %s", p, res.body)
		}
	}
	s.do("DELETE", "/lf", nil, "If: (<urn:x>)").want(t, 412)
	s.do("DELETE", "/lf", nil, "If: ("+token+")").want(t, 204)
	s.do("PUT", "/d/f", strings.NewReader("x")).want(t, 423)
}

func TestCanonical(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "a", "b", "f")
	d := newDir(t, root)
	for link, to := range map[string]string{
		"l": "a/b", "a/up": "..", "out": "..", "abs": root, "loop": "loop", "dangling": "none/x", "a/b/lf": "f", "far": "l/../b/lf",
	} {
		if err := os.Symlink(to, root+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string][2]string{
		".": {".", "."}, "f": {"f", "f"}, "none/x": {"none/x", "none/x"}, "a/b": {"a/b", "a/b"},
		"l": {"l", "a/b"}, "l/f": {"a/b/f", "a/b/f"}, "l/lf": {"a/b/lf", "a/b/f"}, "a/up/l/new": {"a/b/new", "a/b/new"}, "a/up": {"a/up", "a/up"},
		"out/x": {"out/x", "out/x"}, "abs/x": {"abs/x", "abs/x"}, "loop/x": {"loop/x", "loop/x"}, "dangling": {"dangling", "dangling"}, "far": {"far", "a/b/f"},
	} {
		for i, whole := range []bool{false, true} {
			if got := d.Canonical(t.Context(), name, whole); got != want[i] {
				t.Errorf("%s, whole %t: %s, not %s", name, whole, got, want[i])
			}
		}
	}
	if got := d.Canonical(t.Context(), strings.Repeat("a/up/", linksMax+1)+"a", false); got != strings.Repeat("a/up/", linksMax+1)+"a" {
		t.Error("it follows links without end")
	}
}
