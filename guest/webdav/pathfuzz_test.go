package webdav

import (
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// checkName: what is taken for a name is one as FS has it, and stays what it is on the way to a
// client and back.
func checkName(t *testing.T, name string) {
	t.Helper()
	for e := range strings.SplitSeq(name, "/") {
		if e == "" || e == ".." || e == "." && name != "." || strings.ContainsRune(e, 0) {
			t.Fatalf("%q is no name, and may lead out of the folder", name)
		}
	}
	if again, err := nameOf("/" + name); err != nil || again != name {
		t.Errorf("%q becomes %q (%v)", name, again, err)
	}
	for _, dir := range []bool{false, true} {
		href := string(appendHref(nil, name, dir))
		if strings.Trim(href, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/%") != "" {
			t.Errorf("%q: href %s", name, href)
		}
		u, err := url.ParseRequestURI(href)
		if err != nil {
			t.Fatalf("%q: href %s: %v", name, href, err)
		}
		if back, err := nameOf(u.Path); err != nil || back != name {
			t.Errorf("%q: href %s, which is %q (%v)", name, href, back, err)
		}
		r := &http.Request{Host: "localhost"}
		if back, err := nameOfURI(r, href); err != nil || back != name {
			t.Errorf("%q: Destination %s, which is %q (%v)", name, href, back, err)
		}
	}
}

var namesToFuzz = []string{"", "*", "/", "/a", "/a/../b", "/../../etc/passwd", "/..", "/a//b/./c/", "/a%2f..%2f..%2fb", "/\\..\\x", "/é/e\u0301", "/a\x00b", "/x y%z?q#f", "/\xff\xfe", "//h/x", "/a/..", "/...", "/%"}

// FuzzPath: the path of a URL never leads above the root.
func FuzzPath(f *testing.F) {
	for _, s := range namesToFuzz {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		name, err := nameOf(path)
		if err != nil {
			if !strings.ContainsRune(path, 0) {
				t.Errorf("%q: %v", path, err)
			}
			return
		}
		checkName(t, name)
		// On disk, also under folders that are there only by name.
		if name != "." && !fs.ValidPath(strings.ToValidUTF8(name, "?")) {
			t.Errorf("%q gives %q", path, name)
		}
	})
}

// FuzzDestination: a Destination is a name of this server, or is refused.
func FuzzDestination(f *testing.F) {
	for _, s := range namesToFuzz {
		f.Add(s, "localhost")
		f.Add("http://localhost:8080"+s, "localhost:8080")
		f.Add("http://elsewhere"+s, "127.0.0.1")
	}
	for _, s := range []string{"http:a", "a", "//user@localhost/a", "http://[::1]/%2e%2e/a", "mailto:a@b", "http://localhost%2f/a", "/a?b#c", "/%2e%2e/%00"} {
		f.Add(s, "localhost")
	}
	f.Fuzz(func(t *testing.T, uri, host string) {
		name, err := nameOfURI(&http.Request{Host: host}, uri)
		if err != nil {
			if status := statusOf(err); status != 400 && status != 502 {
				t.Errorf("%q: %d", uri, status)
			}
			return
		}
		checkName(t, name)
		if scheme := len("http://"); host != "" && len(uri) > scheme && strings.EqualFold(uri[:scheme], "http://") {
			rest := uri[scheme:]
			authority := rest[:strings.IndexByte(rest+"/", '/')]
			authority = authority[strings.LastIndexByte(authority, '@')+1:]
			// One without a host is taken for this one.
			if decoded, err := url.PathUnescape(authority); authority != "" && (err != nil || !strings.EqualFold(decoded, host)) {
				t.Errorf("%q is of another server than %q, and is taken for %q", uri, host, name)
			}
		}
	})
}
