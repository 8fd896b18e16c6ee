package webdav

import (
	"io/fs"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// esc is name as the path of a URL.
func esc(name string) string { return (&url.URL{Path: "/" + name}).EscapedPath() }

func TestNamesInOtherForms(t *testing.T) {
	nfc, nfd := norm.NFC.String, norm.NFD.String
	s, root := serveDir(t, true)
	write(t, "nfc", root, nfc("Grüße.txt"))
	write(t, "nfd", root, nfd("schön.txt"))
	write(t, "mixed", root, nfc("Bücher"), nfd("Ätna"), nfc("für.txt"))
	write(t, "one", root, nfc("é"))
	write(t, "two", root, nfd("é"))
	write(t, "ascii", root, nfd("Bücher"+"2"), "plain")
	write(t, "hangul", root, nfc("한글"))

	for _, c := range []struct{ asked, want string }{
		{nfc("Grüße.txt"), "nfc"}, {nfd("Grüße.txt"), "nfc"}, {nfc("schön.txt"), "nfd"}, {nfd("schön.txt"), "nfd"},
		{nfc("Bücher/Ätna/für.txt"), "mixed"}, {nfd("Bücher/Ätna/für.txt"), "mixed"},
		{nfd("Bücher") + "/" + nfc("Ätna") + "/" + nfd("für.txt"), "mixed"},
		{nfc("é"), "one"}, {nfd("é"), "two"}, // of two, each exactly
		{nfc("Bücher2/plain"), "ascii"}, {nfd("한글"), "hangul"},
	} {
		res := s.do("GET", esc(c.asked), nil).want(t, 200)
		if res.body != c.want {
			t.Errorf("%+q: %q", c.asked, res.body)
		}
		s.do("HEAD", esc(c.asked), nil).want(t, 200)
		href := string(appendHref(nil, c.asked, false))
		for _, depth := range []string{"0", "1"} {
			if e := s.propfind(esc(c.asked), depth, macOSPropfind); len(e) != 1 || e[href]["getcontentlength"] == "" {
				t.Errorf("%+q: %v", c.asked, e)
			}
		}
	}
	// A folder: every href begins with the path that was asked for, and leads there.
	for _, form := range []func(string) string{nfc, nfd} {
		folder := form("Bücher/Ätna")
		e := s.propfind(esc(folder), "1", macOSPropfind)
		self, child := string(appendHref(nil, folder, true)), string(appendHref(nil, folder+"/"+nfc("für.txt"), false))
		if len(e) != 2 || e[self] == nil || e[child] == nil {
			t.Errorf("got %s, want %s %s", e.hrefs(), self, child)
		}
		if got := s.do("GET", child, nil).want(t, 200).body; got != "mixed" {
			t.Errorf("%s: %q", child, got)
		}
	}
	for _, missing := range []string{"Grüße", "Grüße.txt/x", "nö/für.txt", "Bücher/Grüße.txt", "GRÜSSE.TXT", "Ｇrüße.txt"} {
		for _, form := range []func(string) string{nfc, nfd} {
			s.do("GET", esc(form(missing)), nil).want(t, 404)
			s.do("PROPFIND", esc(form(missing)), nil, "Depth: 1").want(t, 404)
		}
	}
}

func TestOtherFormsCostNothingInTheGoodCase(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "Grüße", "für.txt")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, true)
	stats := func(path string, status int) int {
		t.Helper()
		f.stats = 0
		s.do("PROPFIND", esc(path), nil, "Depth: 0").want(t, status)
		return f.stats
	}
	if n := stats("Grüße/für.txt", 207); n != 1 {
		t.Errorf("a name that exists: %d stats", n)
	}
	if n := stats("no/such/file", 404); n != 1 {
		t.Errorf("ASCII: %d stats", n)
	}
	if n := stats(strings.Repeat("ü/", 4096), 404); n != 1 {
		t.Errorf("longer than a name can be: %d stats", n)
	}
	if n := stats("Grüße/nö", 404); n != 3 { // it, its folder, its NFD
		t.Errorf("a name that does not exist: %d stats", n)
	}
	// What cannot be looked up is not what does not exist.
	f.set(faults{onStat: func(name string) error {
		if name == norm.NFC.String("ü/x") {
			return fs.ErrNotExist
		}
		return syscall.EIO
	}})
	s.do("GET", esc("ü/x"), nil).want(t, 500)
	s.do("PROPFIND", esc("ü/x"), nil, "Depth: 0").want(t, 500)
}

func TestWritingMakesNoTwins(t *testing.T) {
	nfc, nfd := norm.NFC.String, norm.NFD.String
	s, root := serveDir(t, false)
	write(t, "old", root, nfc("Grüße"))
	write(t, "old", root, nfd("Bücher"), "f")
	s.do("PUT", esc(nfd("Grüße")), strings.NewReader("new")).want(t, 204)
	s.do("PUT", esc(nfc("Bücher/neü")), strings.NewReader("new")).want(t, 201)
	s.do("MKCOL", esc(nfc("Bücher")), nil).want(t, 405)
	s.do("COPY", esc(nfc("Bücher/f")), nil, "Destination: "+esc(nfc("Bücher/neü2"))).want(t, 201)
	s.do("MOVE", esc(nfc("Bücher/f")), nil, "Destination: "+esc(nfd("Grüße")), "Overwrite: F").want(t, 412)
	s.do("MOVE", esc(nfc("Bücher/f")), nil, "Destination: "+esc(nfd("Grüße"))).want(t, 204)
	if got, want := ls(t, root), nfd("Bücher")+" "+nfc("Grüße"); got != want {
		t.Errorf("the folder holds %+q, want %+q", got, want)
	}
	if got, want := ls(t, root+"/"+nfd("Bücher")), nfc("neü neü2"); got != want {
		t.Errorf("the subfolder holds %+q, want %+q", got, want)
	}
	if got := read(t, root, nfc("Grüße")); got != "old" {
		t.Errorf("got %q", got)
	}
	// A lock holds whatever the form that it is asked for in.
	token := s.do("LOCK", esc(nfd("Grüße")), strings.NewReader(lockBody), "Depth: 0").want(t, 200).Header.Get("Lock-Token")
	s.do("PUT", esc(nfc("Grüße")), strings.NewReader("other")).want(t, 423)
	s.do("DELETE", esc(nfd("Grüße")), nil).want(t, 423)
	s.do("UNLOCK", esc(nfc("Grüße")), nil, "Lock-Token: "+token).want(t, 204)
	s.do("DELETE", esc(nfd("Grüße")), nil).want(t, 204)
	s.do("DELETE", esc(nfc("Bücher")), nil).want(t, 204)
	if got := ls(t, root); got != "" {
		t.Errorf("left: %+q", got)
	}
}
