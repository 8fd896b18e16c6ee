package webdav

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// modelled is a server, and the model of it.
type modelled struct {
	*testing.T
	server  *Server
	root    string
	clock   *clock
	m       *model
	history strings.Builder
}

// newModelled serves an empty folder, in memory where there is one: each step is synced.
func newModelled(t *testing.T) *modelled {
	root := t.TempDir()
	if dir, err := os.MkdirTemp("/dev/shm", "fuseless-model-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		root = dir
	}
	d, err := NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	s, err := New(d, Options{User: testUser, Password: testPassword})
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{t: time.Now()}
	s.locks.now = c.now
	keeps := d.SetProperties(t.Context(), ".", []byte("<x/>")) == nil && d.SetProperties(t.Context(), ".", nil) == nil
	return &modelled{T: t, server: s, root: root, clock: c, m: newModel(c.t, keeps)}
}

func (w *modelled) fail(format string, args ...any) {
	w.Helper()
	w.Fatalf("%s\nafter\n%s", fmt.Sprintf(format, args...), w.history.String())
}

// run makes requests of the bytes, one after the other, and compares after each.
func (w *modelled) run(b []byte) {
	w.Helper()
	for ; len(b) >= requestSize && w.m.step < 64; b = b[requestSize:] {
		w.m.step++
		q := w.m.request(b)
		w.one(q)
		if q.method != "PASS" { // it would have the server notice that locks have ended
			w.check()
		}
	}
}

func (w *modelled) one(q *modelRequest) {
	w.Helper()
	if q.method == "PASS" {
		fmt.Fprintf(&w.history, "%v pass\n", q.timeout)
		w.clock.pass(q.timeout)
		w.m.pass(q.timeout)
		return
	}
	v := w.m.judge(q)
	n := w.m.find(q.path)
	res := w.serve(q.http())
	body := res.Body.String()
	fmt.Fprintf(&w.history, "%v: %d\n", q, res.Code)
	right, done := v.allows(res.Code)
	if !right {
		w.fail("it says %d: %s\nit must be refused with %v, may be with %v, and is %v if it is not", res.Code, body, v.must, v.may, v.ok)
	}
	if !done {
		return
	}
	v.done(res.Header(), body)
	switch q.method {
	case "GET", "HEAD":
		if n.dir {
			break
		}
		if want := n.data; q.method == "GET" && body != want || q.method == "HEAD" && body != "" || res.Header().Get("Content-Length") != fmt.Sprint(len(want)) {
			w.fail("it is %q, of %s bytes, and should be %q", body, res.Header().Get("Content-Length"), want)
		}
		if got := res.Header().Get("ETag"); got != n.etag {
			w.fail("its ETag is %s, and should be %s", got, n.etag)
		}
	case "LOCK":
		if l := w.m.locks[len(w.m.locks)-1]; l.token == "" || slices.Contains(w.m.tokens[:len(w.m.tokens)-1], l.token) {
			w.fail("no token of its own: %s, %s", res.Header().Get("Lock-Token"), body)
		}
	case "PROPPATCH":
		granted := !q.refusedProperty() && (w.m.keeps || q.keepsNothing())
		if strings.Contains(body, " 200 OK<") != granted || strings.Contains(body, " 403 Forbidden<") == granted {
			w.fail("it says %s", body)
		}
	}
}

func (w *modelled) serve(req *http.Request) *httptest.ResponseRecorder {
	res := httptest.NewRecorder()
	w.server.ServeHTTP(res, req)
	return res
}

// check compares all that there is: on disk, and as the server tells it.
func (w *modelled) check() {
	w.Helper()
	for _, l := range w.m.locks {
		if w.m.find(l.root) == nil {
			w.fail("in the model, a lock is on nothing: %+v", l)
		}
	}
	w.checkDisk(w.m.root, w.root)
	w.checkFolder(w.m.root, "")
}

func (w *modelled) checkDisk(n *node, at string) {
	w.Helper()
	entries, err := os.ReadDir(at)
	if err != nil {
		w.fail("%v", err)
	}
	var got, want []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	for _, kid := range n.kids {
		want = append(want, kid.name)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.fail("in %s is %q, and should be %q", strings.TrimPrefix(at, w.root), got, want)
	}
	for _, kid := range n.kids {
		p := filepath.Join(at, kid.name)
		if kid.dir {
			w.checkDisk(kid, p)
		} else if b, err := os.ReadFile(p); err != nil || string(b) != kid.data {
			w.fail("%s holds %q (%v), and should hold %q", strings.TrimPrefix(p, w.root), b, err, kid.data)
		}
	}
}

func (w *modelled) checkFolder(n *node, at string) {
	w.Helper()
	q := &modelRequest{path: at}
	req := httptest.NewRequest("PROPFIND", q.uri(at, true), strings.NewReader(`<propfind xmlns="DAV:"><allprop/></propfind>`))
	req.Host = "localhost"
	req.Header.Set("Depth", "1")
	req.SetBasicAuth(testUser, testPassword)
	res := w.serve(req)
	if res.Code != 207 {
		w.fail("PROPFIND /%s: %d", at, res.Code)
	}
	got := map[string]map[string]string{}
	for href, props := range parse(w.T, res.Body.String()) {
		p, err := url.PathUnescape(href)
		if err != nil {
			w.fail("href %s: %v", href, err)
		}
		got[p] = props
	}
	hrefOf := func(p string, n *node) string {
		if n.dir && p != "" {
			p += "/"
		}
		return "/" + p
	}
	if len(got) != 1+len(n.kids) {
		w.fail("/%s is listed as %v", at, got)
	}
	w.checkEntry(n, at, got[hrefOf(at, n)])
	for _, kid := range n.kids {
		p := path.Join(at, kid.name)
		w.checkEntry(kid, p, got[hrefOf(p, kid)])
		if kid.dir {
			w.checkFolder(kid, p)
		}
	}
}

// checkEntry compares what a PROPFIND says of an entry, and learns what only the server can know.
func (w *modelled) checkEntry(n *node, at string, props map[string]string) {
	w.Helper()
	value := func(name string) string { return strings.TrimPrefix(props[name], "200 ") }
	if props == nil || strings.Contains(value("resourcetype"), "collection") != n.dir {
		w.fail("/%s is listed as %v", at, props)
	}
	dead := map[string]string{}
	for name, v := range props {
		if p, ok := strings.CutPrefix(name, "urn:p "); ok {
			dead[p] = strings.TrimPrefix(v, "200 ")
		}
	}
	if len(dead)+len(n.props) > 0 && fmt.Sprint(dead) != fmt.Sprint(n.props) {
		w.fail("/%s has the properties %v, and should have %v", at, dead, n.props)
	}
	w.checkLocks(at, props["lockdiscovery"])
	n.date = value("getlastmodified")
	if n.modified != "" && n.modified != n.date {
		w.fail("/%s is of %s, and should be of %s", at, n.date, n.modified)
	}
	if n.dir {
		n.modified = "" // it is another one when something comes or goes
		return
	}
	n.modified = n.date
	tag := value("getetag")
	if n.etag != "" && n.etag != tag || tag == "" {
		w.fail("/%s has the ETag %s, and should have %s", at, tag, n.etag)
	}
	n.etag = tag
	// A strong ETag tells all the contents apart that there ever were (RFC 9110 8.8.1).
	seen := w.m.seen[canonical(at)]
	if seen == nil {
		seen = map[string]string{}
		w.m.seen[canonical(at)] = seen
	}
	if was, ok := seen[tag]; ok && was != n.data {
		w.fail("/%s has the ETag %s with %q, and had it with %q", at, tag, n.data, was)
	}
	seen[tag] = n.data
}

var activeLock = regexp.MustCompile(`<D:lockscope><D:(\w+)/></D:lockscope><D:depth>(\w+)</D:depth>.*?<D:timeout>Second-(\d+)</D:timeout><D:locktoken><D:href>([^<]*)</D:href></D:locktoken><D:lockroot><D:href>/([^<]*?)/?</D:href>`)

func (w *modelled) checkLocks(at, lockdiscovery string) {
	w.Helper()
	var got, want []string
	for _, l := range activeLock.FindAllStringSubmatch(lockdiscovery, -1) {
		root, err := url.PathUnescape(l[5])
		got = append(got, fmt.Sprint(l[1:5], canonical(root), err))
	}
	for _, l := range w.m.on(canonical(at)) {
		scope, depth := "exclusive", "0"
		if l.shared {
			scope = "shared"
		}
		if l.deep {
			depth = "infinity"
		}
		left := fmt.Sprint(int(l.expires.Sub(w.m.now) / time.Second))
		want = append(want, fmt.Sprint([]string{scope, depth, left, l.token}, l.root, nil))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || strings.Count(lockdiscovery, "<D:activelock>") != len(want) {
		w.fail("on /%s are the locks %q, and should be %q", at, got, want)
	}
}
