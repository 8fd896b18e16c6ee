package webdav

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func lockInfo(scope string) string {
	return `<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:" xmlns:p="urn:people"><D:lockscope><D:` + scope + `/></D:lockscope><D:locktype><D:write/></D:locktype>` +
		`<D:owner><p:name p:title="Dr &amp; &quot;">eve</p:name></D:owner></D:lockinfo>`
}

// lock locks name and returns the token, in brackets.
func (s *testServer) lock(name, scope string, headers ...string) string {
	s.t.Helper()
	res := s.do("LOCK", name, strings.NewReader(lockInfo(scope)), headers...)
	if res.StatusCode != 200 && res.StatusCode != 201 {
		s.t.Errorf("LOCK %s: %d: %s", name, res.StatusCode, res.body)
	}
	return res.Header.Get("Lock-Token")
}

// lockServer serves a folder of files, each with its name as its contents, with a clock.
func lockServer(t *testing.T, files ...string) (*testServer, string, *clock) {
	t.Helper()
	root := t.TempDir()
	for _, f := range files {
		put(t, filepath.Join(root, f), f)
	}
	c := &clock{t: time.Now()}
	return start(t, newDir(t, root), false, func(s *Server) { s.locks.now = c.now }), root, c
}

// What a lock is on, changes with its token only (RFC 4918 7).
func TestLocksProtect(t *testing.T) {
	requests := []struct{ method, path, destination string }{
		{"PUT", "/d/f", ""}, {"DELETE", "/d/f", ""}, {"PROPPATCH", "/d/f", ""}, {"MOVE", "/d/f", "/moved"}, {"MOVE", "/g", "/d/f"}, {"COPY", "/g", "/d/f"},
		{"PUT", "/d/new", ""}, {"MKCOL", "/d/folder", ""}, {"COPY", "/g", "/d/new"}, {"MOVE", "/g", "/d/new"}, {"LOCK", "/d/new", ""},
		{"DELETE", "/d", ""}, {"MOVE", "/d", "/moved"}, {"COPY", "/e", "/d"}, {"PROPPATCH", "/d", ""},
		{"PUT", "/d/e/f", ""}, {"MKCOL", "/d/e/new", ""}, {"COPY", "/d/f", "/copied"}, {"GET", "/d/f", ""}, {"PROPFIND", "/d/f", ""},
	}
	const (
		inFile   = "PUT /d/f, DELETE /d/f, PROPPATCH /d/f, MOVE /d/f, MOVE /g to /d/f, COPY /g to /d/f, "
		members  = "PUT /d/new, MKCOL /d/folder, COPY /g to /d/new, MOVE /g to /d/new, LOCK /d/new, "
		inFolder = "DELETE /d, MOVE /d, COPY /e to /d, "
	)
	for _, c := range []struct {
		what, locked, depth string
		refused             string
	}{
		{"a file", "/d/f", "0", inFile + inFolder},
		{"a folder alone", "/d", "0", "DELETE /d/f, MOVE /d/f, " + members + inFolder + "PROPPATCH /d, "},
		{"a folder with all in it", "/d", "infinity", inFile + members + inFolder + "PROPPATCH /d, PUT /d/e/f, MKCOL /d/e/new, "},
		{"a folder in it", "/d/e", "0", inFolder + "MKCOL /d/e/new, "},
		{"a name that only begins as it", "/g", "infinity", "MOVE /g to /d/f, MOVE /g to /d/new, "},
	} {
		t.Run(c.what, func(t *testing.T) {
			for _, q := range requests {
				s, root, _ := lockServer(t, "d/f", "d/e/f", "g", "e/x")
				what := q.method + " " + q.path
				if q.destination != "" && strings.HasPrefix(q.destination, "/d") {
					what += " to " + q.destination
				}
				var body string
				switch q.method {
				case "PUT":
					body = "new"
				case "LOCK":
					body = lockInfo("exclusive")
				case "PROPPATCH":
					body = `<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT</D:getlastmodified></D:prop></D:set></D:propertyupdate>`
				}
				do := func(headers ...string) response {
					if q.destination != "" {
						headers = append(headers, "Destination: "+q.destination)
					}
					if q.method == "PROPFIND" || q.method == "LOCK" {
						headers = append(headers, "Depth: 0")
					}
					var b *strings.Reader
					if b = strings.NewReader(body); body == "" {
						return s.do(q.method, q.path, nil, headers...)
					}
					return s.do(q.method, q.path, b, headers...)
				}
				token := s.lock(c.locked, "exclusive", "Depth: "+c.depth)
				before := ls(t, root) + ls(t, filepath.Join(root, "d")) + read(t, root, "d/f")
				res := do()
				if refused := strings.Contains(c.refused, what+", "); refused != (res.StatusCode == 423) {
					t.Errorf("%s: %d: %s", what, res.StatusCode, res.body)
					continue
				} else if !refused {
					continue
				}
				if !strings.Contains(res.body, "<D:lock-token-submitted><D:href>"+c.locked) {
					t.Errorf("%s: it does not say what is locked: %s", what, res.body)
				}
				if after := ls(t, root) + ls(t, filepath.Join(root, "d")) + read(t, root, "d/f"); after != before {
					t.Errorf("%s: refused, but it is now %s and was %s", what, after, before)
				}
				if res := do("If: <" + c.locked + "> (<urn:uuid:wrong>) (Not <urn:uuid:wrong>)"); res.StatusCode != 423 {
					t.Errorf("%s, with a wrong token: %d: %s", what, res.StatusCode, res.body)
				}
				if q.method == "LOCK" && c.depth == "infinity" {
					continue // it is locked already
				}
				if res := do("If: <" + c.locked + "> (" + token + ")"); res.StatusCode >= 300 {
					t.Errorf("%s, with the token: %d: %s", what, res.StatusCode, res.body)
				}
			}
		})
	}
}

// Two locks are on one thing only if both are shared, and then one token is enough.
func TestSharedLocks(t *testing.T) {
	for _, c := range []struct {
		first, second string
		status        int
	}{{"exclusive", "exclusive", 423}, {"exclusive", "shared", 423}, {"shared", "exclusive", 423}, {"shared", "shared", 200}} {
		for _, deep := range []bool{false, true} { // the folder is locked first, or after
			s, _, _ := lockServer(t, "d/f")
			on := []string{"/d/f", "/d"}
			if deep {
				on = []string{"/d", "/d/f"}
			}
			s.lock(on[0], c.first)
			res := s.do("LOCK", on[1], strings.NewReader(lockInfo(c.second))).want(t, c.status)
			if c.status == 423 && !strings.Contains(res.body, "<D:no-conflicting-lock><D:href>"+on[0]) {
				t.Errorf("%s after %s: %s", c.second, c.first, res.body)
			}
		}
	}
	s, _, _ := lockServer(t, "f")
	first, second := s.lock("/f", "shared", "Depth: 0"), s.lock("/f", "shared", "Depth: 0")
	s.do("PUT", "/f", strings.NewReader("x")).want(t, 423)
	for _, token := range []string{first, second} {
		s.do("PUT", "/f", strings.NewReader("x"), "If: ("+token+")").want(t, 204)
	}
	s.do("UNLOCK", "/f", nil, "Lock-Token: "+first).want(t, 204)
	s.do("PUT", "/f", strings.NewReader("x"), "If: ("+first+") (Not <DAV:no-lock>)").want(t, 423)
	s.do("UNLOCK", "/f", nil, "Lock-Token: "+second).want(t, 204)
	s.do("PUT", "/f", strings.NewReader("x")).want(t, 204)
}

// A token of a part opens nothing of what somebody else has locked around it.
func TestSharedLockOnAPart(t *testing.T) {
	s, root, _ := lockServer(t, "d/f", "d/g")
	whole := s.lock("/d", "shared")
	part := s.lock("/d/f", "shared", "Depth: 0")
	s.do("DELETE", "/d", nil, "If: </d/f> ("+part+")").want(t, 423)
	s.do("DELETE", "/d/f", nil, "If: </d/f> ("+part+")").want(t, 423) // /d loses a member
	s.do("PUT", "/d/f", strings.NewReader("x"), "If: </d/f> ("+part+")").want(t, 204)
	s.do("DELETE", "/d/f", nil, "If: </d> ("+whole+")").want(t, 204)
	s.do("UNLOCK", "/d", nil, "Lock-Token: "+whole).want(t, 204)
	alone := s.lock("/d", "shared", "Depth: 0")
	deep := s.lock("/d", "shared")
	s.do("DELETE", "/d", nil, "If: </d> ("+alone+")").want(t, 423)
	s.do("DELETE", "/d", nil, "If: </d> ("+deep+")").want(t, 204)
	if ls(t, root) != "" {
		t.Errorf("there is %s", ls(t, root))
	}
}

// The token of a shared lock of Depth 0 lets nobody remove what somebody else has locked below.
func TestSharedLocksOfBothDepths(t *testing.T) {
	s, root, _ := lockServer(t, "d/e/f")
	s.lock("/d/e", "shared")
	alone := s.lock("/d/e", "shared", "Depth: 0")
	s.do("DELETE", "/d", nil, "If: </d/e> ("+alone+")").want(t, 423)
	s.do("MOVE", "/d", nil, "Destination: /moved", "If: </d/e> ("+alone+")").want(t, 423)
	if read(t, root, "d/e/f") != "d/e/f" {
		t.Error("it is gone")
	}
}

// A lock says what it is, as long as it is there.
func TestLockIsDescribed(t *testing.T) {
	s, _, c := lockServer(t, "d/ä")
	res := s.do("LOCK", "/d", strings.NewReader(lockInfo("shared")), "Timeout: Infinite, Second-10").want(t, 200)
	token := strings.Trim(res.Header.Get("Lock-Token"), "<>")
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(token) {
		t.Errorf("token %s", token)
	}
	want := func(where, body string, left int) {
		t.Helper()
		for _, part := range []string{"<D:shared/>", "<D:depth>infinity</D:depth>", "<D:locktoken><D:href>" + token + "<", "<D:lockroot><D:href>/d/<",
			fmt.Sprintf("<D:timeout>Second-%d<", left), `<x:name xmlns:x="urn:people"`, `="Dr &amp; &#34;">eve</x:name>`} {
			if !strings.Contains(body, part) {
				t.Errorf("%s: no %s in %s", where, part, body)
			}
		}
	}
	want("LOCK", res.body, 3600)
	c.pass(10 * time.Minute)
	const ask = `<propfind xmlns="DAV:"><prop><lockdiscovery/><supportedlock/></prop></propfind>`
	for _, p := range []string{"/d/", "/d/%C3%A4"} { // also what is in it
		body := s.do("PROPFIND", p, strings.NewReader(ask), "Depth: 0").want(t, 207).body
		want(p, body, 3000)
		if strings.Count(body, "<D:lockentry>") != 2 {
			t.Errorf("both kinds are supported: %s", body)
		}
	}
	if body := s.do("PROPFIND", "/", strings.NewReader(ask), "Depth: 0").want(t, 207).body; strings.Contains(body, "activelock") || !strings.Contains(body, "<D:lockdiscovery></D:lockdiscovery>") {
		t.Errorf("the root is not locked: %s", body)
	}
	// Refreshed, it lasts for as long as it is then said to.
	want("refreshed", s.do("LOCK", "/d", nil, "If: (<"+token+">)", "Timeout: Second-600").want(t, 200).body, 600)
	c.pass(10*time.Minute - time.Second)
	s.do("PUT", "/d/new", strings.NewReader("x")).want(t, 423)
	c.pass(time.Second)
	s.do("PUT", "/d/new", strings.NewReader("x")).want(t, 201)
	s.do("LOCK", "/d", nil, "If: (<"+token+">)").want(t, 412)
	s.do("UNLOCK", "/d", nil, "Lock-Token: <"+token+">").want(t, 409)
}

func TestLockTimeouts(t *testing.T) {
	for h, want := range map[string]time.Duration{
		"": lockTimeoutDefault, "Second-600": 600 * time.Second, "Second-5, Second-600": 5 * time.Second, "Extend, Second-7": 7 * time.Second,
		"Infinite": lockTimeoutMax, "Second-4100000000": lockTimeoutMax, "Second-99999999999999999999": lockTimeoutMax, "Second-0": lockTimeoutDefault, "Second--5": lockTimeoutDefault,
	} {
		if got := lockTimeout(&http.Request{Header: http.Header{"Timeout": {h}}}); got != want {
			t.Errorf("%q: %v, not %v", h, got, want)
		}
	}
}

// A lock goes with what it is on, and a locked file moves with its own token (golang/go#43556).
func TestLocksAndMoves(t *testing.T) {
	s, root, _ := lockServer(t, "a", "d/f", "e/f")
	token := s.lock("/a", "exclusive", "Depth: 0")
	s.do("MOVE", "/a", nil, "Destination: /b", "If: ("+token+")").want(t, 201)
	s.do("PUT", "/b", strings.NewReader("free")).want(t, 204)
	s.do("PUT", "/a", strings.NewReader("free")).want(t, 201)
	token = s.lock("/d/f", "exclusive", "Depth: 0")
	s.do("DELETE", "/d", nil, "If: </d/f> ("+token+")").want(t, 204)
	put(t, filepath.Join(root, "d/f"), "x")
	s.do("PUT", "/d/f", strings.NewReader("free")).want(t, 204)

	// A token is submitted where it is expected to be there, and not where it is not.
	token = s.lock("/b", "exclusive", "Depth: 0")
	s.do("PUT", "/b", strings.NewReader("x"), "If: (Not "+token+") (Not <DAV:no-lock>)").want(t, 423)
	s.do("UNLOCK", "/b", nil, "Lock-Token: "+token).want(t, 204)

	// What takes the place of a locked file is locked.
	token = s.lock("/a", "exclusive", "Depth: 0")
	s.do("COPY", "/b", nil, "Destination: /a", "If: </a> ("+token+")").want(t, 204)
	s.do("PUT", "/a", strings.NewReader("x")).want(t, 423)
}

func TestLockRefuses(t *testing.T) {
	s, root, _ := lockServer(t, "f", "shared")
	for _, c := range []struct {
		what, body string
		headers    []string
		status     int
	}{
		{"depth 1", lockInfo("exclusive"), []string{"Depth: 1"}, 400},
		{"no scope", `<D:lockinfo xmlns:D="DAV:"><D:locktype><D:write/></D:locktype></D:lockinfo>`, nil, 400},
		{"both scopes", `<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:shared/><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>`, nil, 400},
		{"another type", `<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:read/></D:locktype></D:lockinfo>`, nil, 400},
		{"another element", `<D:propfind xmlns:D="DAV:"/>`, nil, 400},
		{"an owner that is too long", strings.Replace(lockInfo("shared"), "eve", strings.Repeat("x", ownerMax), 1), nil, 400},
		{"nothing", "", nil, 400},
		{"a refreshing of what is not there", "", []string{"If: (<urn:uuid:x>)"}, 412},
		{"a condition that does not hold", lockInfo("shared"), []string{`If-Match: "x"`}, 412},
	} {
		if res := s.do("LOCK", "/f", strings.NewReader(c.body), c.headers...); res.StatusCode != c.status {
			t.Errorf("%s: %d: %s", c.what, res.StatusCode, res.body)
		}
	}
	for token, status := range map[string]int{"": 400, "urn:uuid:x": 400, "<urn:uuid:x>": 409} {
		s.do("UNLOCK", "/f", nil, "Lock-Token: "+token).want(t, status)
	}
	token := s.lock("/f", "exclusive")
	s.do("UNLOCK", "/other", nil, "Lock-Token: "+token).want(t, 409)
	s.do("PUT", "/f", strings.NewReader("x")).want(t, 423)
	// Locks are bounded.
	for i := 1; i < locksMax; i++ {
		if res := s.do("LOCK", fmt.Sprintf("/shared%d", i/sharedMax), strings.NewReader(lockInfo("shared"))); res.StatusCode >= 400 {
			t.Fatalf("lock %d: %s", i, res.body)
		}
		if i == 2*sharedMax { // of one thing, too
			s.do("LOCK", "/shared1", strings.NewReader(lockInfo("shared"))).want(t, 503)
		}
	}
	s.do("LOCK", "/more", strings.NewReader(lockInfo("shared"))).want(t, 503)
	if _, err := os.Stat(filepath.Join(root, "more")); err == nil {
		t.Error("a file was made, though it could not be locked")
	}
}
