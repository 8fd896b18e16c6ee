package compare_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"fuseless/magefiles/compare"
)

const date = "Mon, 23 Nov 2026 16:00:00 GMT"

func dir(href string) string {
	return fmt.Sprintf(`<D:response><D:href>%s</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype>`+
		`<D:getlastmodified>%s</D:getlastmodified></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>`, href, date)
}

func file(href string, size int) string {
	return fmt.Sprintf(`<D:response><D:href>%s</D:href><D:propstat><D:prop><D:resourcetype/><D:getcontentlength>%d</D:getcontentlength>`+
		`<D:getlastmodified>%s</D:getlastmodified></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>`, href, size, date)
}

func multistatus(responses ...string) string {
	return `<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">` + strings.Join(responses, "") + `</D:multistatus>`
}

// answer is a server with one answer to PROPFIND and one to GET.
func answer(t *testing.T, listing string, get http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PROPFIND" {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusMultiStatus)
			fmt.Fprint(w, listing)
			return
		}
		get(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func body(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, s) }
}

// A listing that is not as it must be is an error, whatever a lenient client
// would make of it.
func TestWebDAVListingIsStrict(t *testing.T) {
	good := file("/a", 1)
	for name, listing := range map[string]string{
		"no XML":                 "hello",
		"cut off":                multistatus(dir("/"), good)[:250],
		"unclosed":               strings.TrimSuffix(multistatus(dir("/"), good), "</D:multistatus>"),
		"more after the end":     multistatus(dir("/"), good) + "<x/>",
		"two documents":          multistatus(dir("/"), good) + multistatus(dir("/")),
		"raw control character":  multistatus(dir("/"), file("/\x01", 1)),
		"another namespace":      strings.ReplaceAll(multistatus(dir("/"), good), "DAV:", "DAVE:"),
		"the folder not listed":  multistatus(good),
		"the folder a file":      multistatus(file("/", 1), good),
		"listed twice":           multistatus(dir("/"), good, good),
		"no length":              multistatus(dir("/"), strings.Replace(good, "<D:getcontentlength>1</D:getcontentlength>", "", 1)),
		"bad length":             multistatus(dir("/"), strings.Replace(good, ">1<", ">1 byte<", 1)),
		"negative length":        multistatus(dir("/"), strings.Replace(good, ">1<", ">-1<", 1)),
		"no date":                multistatus(dir("/"), strings.Replace(good, "<D:getlastmodified>"+date+"</D:getlastmodified>", "", 1)),
		"bad date":               multistatus(dir("/"), strings.Replace(good, date, "2026-11-23T16:00:00Z", 1)),
		"no kind":                multistatus(dir("/"), strings.Replace(good, "<D:resourcetype/>", "", 1)),
		"properties not found":   multistatus(dir("/"), strings.Replace(good, "200 OK", "404 Not Found", 1)),
		"a status for a file":    multistatus(dir("/"), `<D:response><D:href>/a</D:href><D:status>HTTP/1.1 403 Forbidden</D:status></D:response>`),
		"raw bytes in an href":   multistatus(dir("/"), file("/caf\u00e9", 1)),
		"a space in an href":     multistatus(dir("/"), file("/a b", 1)),
		"a query in an href":     multistatus(dir("/"), file("/a?b", 1)),
		"a fragment in an href":  multistatus(dir("/"), file("/a#b", 1)),
		"a bad escape":           multistatus(dir("/"), file("/a%4", 1)),
		"a slash in a name":      multistatus(dir("/"), file("/a%2Fb", 1)),
		"a parent":               multistatus(dir("/"), file("/%2E%2E", 1)),
		"an empty name":          multistatus(dir("/"), dir("//")),
		"a grandchild":           multistatus(dir("/"), file("/a/b", 1)),
		"another server":         multistatus(dir("/"), file("http://example.com/a", 1)),
		"another server's start": multistatus(dir("/"), file("http://127.0.0.1:1/a", 1)),
		"relative":               multistatus(dir("/"), file("a", 1)),
	} {
		if tree, err := compare.WebDAV(t.Context(), answer(t, listing, body("x")), "", ""); err == nil {
			t.Errorf("%s: no error, but %q", name, tree.Paths())
		}
	}
	tree, err := compare.WebDAV(t.Context(), answer(t, multistatus(dir("/"), good), body("x")), "", "")
	if err != nil || tree.Entries["a"].Err != "" || tree.Entries["a"].Sum == "" || len(tree.Entries) != 2 {
		t.Errorf("a good listing: %v, %v", tree, err)
	}
}

// A body that is not what the listing promised leaves the file unread.
func TestWebDAVBodyIsStrict(t *testing.T) {
	listing := multistatus(dir("/"), file("/a", 10))
	for name, get := range map[string]http.HandlerFunc{
		"shorter": body("123456789"),
		"longer":  body("12345678901"),
		"cut off": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "12345")
		},
		"chunked and shorter": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "12345")
			w.(http.Flusher).Flush()
		},
		"chunked and cut off": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "1234567890")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"partial": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusPartialContent)
			fmt.Fprint(w, "1234567890")
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/a" {
				http.Redirect(w, r, "/b", http.StatusFound)
			}
			fmt.Fprint(w, "1234567890")
		},
		"forbidden": func(w http.ResponseWriter, r *http.Request) { http.Error(w, "123456789", http.StatusForbidden) },
	} {
		tree, err := compare.WebDAV(t.Context(), answer(t, listing, get), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if e := tree.Entries["a"]; e.Err == "" || e.Sum != "" {
			t.Errorf("%s: no error, content %q", name, e.Sum)
		}
		if got := found(compare.Compare(tree, tree)); got != "unreadable a" {
			t.Errorf("%s: found %q", name, got)
		}
	}
}

func TestWebDAVRefusal(t *testing.T) {
	root := t.TempDir()
	must(t, os.WriteFile(root+"/a", nil, 0o644))
	url := serve(t, root)
	if _, err := compare.WebDAV(t.Context(), url, "user", "wrong"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a wrong password: %v", err)
	}
	if tree, err := compare.WebDAV(t.Context(), url, "user", "secret"); err != nil || len(tree.Entries) != 2 {
		t.Errorf("the right one: %v", err)
	}
}

// A server that shows a folder within itself for ever does not hold the walk.
func TestWebDAVLoop(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml; charset=utf-8")
		w.WriteHeader(http.StatusMultiStatus)
		fmt.Fprint(w, multistatus(dir(r.URL.Path), dir(r.URL.Path+"x/")))
	}))
	defer s.Close()
	if _, err := compare.WebDAV(t.Context(), s.URL, "", ""); err == nil || !strings.Contains(err.Error(), "loop") {
		t.Errorf("got %v", err)
	}
}

// Names are bytes, below a base with a path of its own.
func TestWebDAVNames(t *testing.T) {
	root := t.TempDir()
	names := []string{"caf\u00e9", "cafe\u0301", "\xff\xfe", "new\nline", "100%", "%41", "a?b#c&d", " ", "a+b", "<x>", `back\slash`, "*", "-", "日"}
	for _, n := range names {
		must(t, os.Mkdir(root+"/"+n, 0o755), os.WriteFile(root+"/"+n+"/"+n, []byte(n), 0o644))
	}
	tree, err := compare.WebDAV(t.Context(), serve(t, root), "user", "secret")
	must(t, err)
	want := local(t, root)
	for _, d := range compare.Compare(want, tree) {
		if d.Got != "not carried" {
			t.Error(d)
		}
	}
	sub, err := compare.WebDAV(t.Context(), serve(t, root)+"%FF%FE/", "user", "secret")
	must(t, err)
	if e := sub.Entries["\xff\xfe"]; e == nil || e.Sum != want.Entries["\xff\xfe/\xff\xfe"].Sum {
		t.Errorf("below a base with a path: %q", sub.Paths())
	}
}
