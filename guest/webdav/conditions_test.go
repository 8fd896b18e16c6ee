package webdav

import (
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestIfHeader(t *testing.T) {
	c := func(s string) stateCondition {
		not := strings.HasPrefix(s, "!")
		if s = strings.TrimPrefix(s, "!"); strings.HasSuffix(s, `"`) {
			return stateCondition{not: not, etag: s}
		}
		return stateCondition{not: not, token: s}
	}
	for in, want := range map[string][]stateList{
		"(<urn:a>)":                        {{"", []stateCondition{c("urn:a")}}},
		"  (<urn:a>  <urn:b>)(<urn:c>) ":   {{"", []stateCondition{c("urn:a"), c("urn:b")}}, {"", []stateCondition{c("urn:c")}}},
		`(Not <urn:a> ["x y"])`:            {{"", []stateCondition{c("!urn:a"), c(`"x y"`)}}},
		`(not["a\"]])`:                     nil,
		`(NOT [W/"a]"])`:                   {{"", []stateCondition{c(`!W/"a]"`)}}},
		"<http://h/a> (<urn:a>) (<urn:b>)": {{"http://h/a", []stateCondition{c("urn:a")}}, {"http://h/a", []stateCondition{c("urn:b")}}},
		"</a>(<urn:a>)</b>([\"x\"])":       {{"/a", []stateCondition{c("urn:a")}}, {"/b", []stateCondition{c(`"x"`)}}},
		// As RFC 4918 does not have it:
		"": nil, "()": nil, "(": nil, "(<urn:a>": nil, "(<urn:a)": nil, "(<>)": nil, "<urn:a>": nil, "</a>": nil, "</a> </b> (<urn:a>)": nil, "(urn:a)": nil,
		"(<urn:a>) </b> (<urn:a>)": nil, "(<urn:a>) x": nil, `(["a)`: nil, `([a])`: nil, `(["a"x])`: nil, "(Not)": nil, "(Not Not <urn:a>)": nil, "(<urn:a>,<urn:b>)": nil,
		"(" + strings.Repeat("<urn:a>", conditionsMax+1) + ")": nil,
	} {
		got, err := parseIf(in)
		if (err != nil) != (want == nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%.60q: %+v, %v", in, got, err)
		}
	}
}

// FuzzIf: what is accepted has conditions, and its parts are parts of the header.
func FuzzIf(f *testing.F) {
	for _, s := range []string{"(<urn:a>)", `</a> (Not <urn:a> ["x"]) (<b>)`, `([W/"x"])`, "(", "<"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		lists, err := parseIf(s)
		if err != nil {
			return
		}
		n := 0
		for _, l := range lists {
			if len(l.all) == 0 || !strings.Contains(s, l.resource) {
				t.Errorf("%q: %+v", s, lists)
			}
			for _, c := range l.all {
				if n++; (c.token == "") == (c.etag == "") || !strings.Contains(s, c.token+c.etag) {
					t.Errorf("%q: %+v", s, lists)
				}
			}
		}
		if len(lists) == 0 || n > conditionsMax {
			t.Errorf("%q: %d conditions", s, n)
		}
	})
}

// Each method that writes heeds each condition (RFC 9110 13, RFC 4918 10.4), and a request
// whose condition does not hold changes nothing.
func TestConditions(t *testing.T) {
	s, root, _ := lockServer(t, "f", "g", "d/x")
	tag := func(name string) string {
		t.Helper()
		return s.do("HEAD", name, nil).want(t, 200).Header.Get("ETag")
	}
	token := s.lock("/d", "exclusive", "Depth: infinity")
	modified := s.do("HEAD", "/f", nil).Header.Get("Last-Modified")
	earlier := time.Now().Add(-time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	for _, c := range []struct {
		header string
		status int
	}{
		{"If-Match: " + tag("/f"), 0}, {`If-Match: "x", ` + tag("/f"), 0}, {"If-Match: *", 0}, {`If-Match: "x"`, 412}, {"If-Match: W/" + tag("/f"), 412}, {"If-Match: x", 400},
		{"If-None-Match: *", 412}, {"If-None-Match: " + tag("/f"), 412}, {"If-None-Match: W/" + tag("/f"), 412}, {`If-None-Match: "x"`, 0},
		{"If-Unmodified-Since: " + modified, 0}, {"If-Unmodified-Since: " + earlier, 412}, {"If-Unmodified-Since: yesterday", 0},
		{"If: ([" + tag("/f") + "])", 0}, {`If: (["x"])`, 412}, {`If: (Not ["x"])`, 0}, {"If: (Not [" + tag("/f") + "])", 412}, {`If: (["x"]) ([` + tag("/f") + "])", 0},
		{"If: ([" + tag("/f") + `] ["x"])`, 412}, {"If: </g> ([" + tag("/g") + "])", 0}, {"If: </g> ([" + tag("/f") + "])", 412}, {"If: </none> (Not [" + tag("/f") + "])", 0},
		{"If: <" + s.URL + "/g> ([" + tag("/g") + "])", 0}, {"If: <http://localhost:1/g> ([" + tag("/g") + "])", 412},
		{"If: (<DAV:no-lock>)", 412}, {"If: (Not <DAV:no-lock>)", 0}, {"If: </d/x> (" + token + ")", 0}, {"If: </f> (" + token + ")", 412}, {"If: (" + token + ")", 412},
		{"If: (", 400}, {"If: </g>", 400},
	} {
		for _, method := range []string{"PUT", "PROPPATCH", "LOCK", "MOVE", "COPY", "DELETE"} {
			put(t, filepath.Join(root, "f2"), "")
			var body io.Reader
			switch method {
			case "PUT":
				body = strings.NewReader("f") // as it was
			case "PROPPATCH":
				body = strings.NewReader(`<D:propertyupdate xmlns:D="DAV:"><D:remove><D:prop><x/></D:prop></D:remove></D:propertyupdate>`)
			case "LOCK":
				body = strings.NewReader(lockInfo("shared"))
			}
			if c.status == 0 && method != "COPY" {
				continue // it would change what the next ones look at; see below
			}
			before := ls(t, root) + read(t, root, "f")
			res := s.do(method, "/f", body, c.header, "Destination: /f2", "Depth: infinity")
			if c.status == 0 && res.StatusCode >= 300 || c.status != 0 && res.StatusCode != c.status {
				t.Errorf("%s, %s: %d: %s", method, c.header, res.StatusCode, res.body)
			}
			if after := ls(t, root) + read(t, root, "f"); after != before {
				t.Errorf("%s, %s: it was %s and is %s", method, c.header, before, after)
			}
		}
	}
	s.do("MKCOL", "/new", nil, "If-Match: *").want(t, 412)
	s.do("MKCOL", "/new", nil, "If-None-Match: *").want(t, 201)
	s.do("PUT", "/f3", strings.NewReader("x"), "If-Match: *").want(t, 412)
	s.do("PUT", "/f3", strings.NewReader("x"), "If-None-Match: *").want(t, 201)
	s.do("PUT", "/f3", strings.NewReader("x"), "If-Unmodified-Since: "+s.do("HEAD", "/f3", nil).Header.Get("Last-Modified")).want(t, 204)
	etag := s.do("PUT", "/f3", strings.NewReader("xyz"), "If-Match: "+tag("/f3")).want(t, 204).Header.Get("ETag")
	if etag != tag("/f3") {
		t.Errorf("PUT says %s, and it is %s", etag, tag("/f3"))
	}
}

// Of clients that change a file at the same time, each from how it was, one succeeds: no
// update is lost, however the requests lie in time.
func TestNoLostUpdate(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "counter"), "")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, false)
	const clients, each = 8, 10
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for done := 0; done < each; {
				got := s.do("GET", "/counter", nil)
				// The size is part of the ETag, so that the clock's steps do not matter.
				r := s.do("PUT", "/counter", strings.NewReader(got.body+"x"), "If-Match: "+got.Header.Get("ETag"))
				switch r.StatusCode {
				case 204:
					done++
				case 412:
				default:
					t.Errorf("%d: %s", r.StatusCode, r.body)
					return
				}
			}
		})
	}
	all.Wait()
	if got := len(read(t, root, "counter")); got != clients*each {
		t.Errorf("%d of %d updates", got, clients*each)
	}

	// Versions of the same size, one right after the other, are told apart.
	tags, dates := map[string]bool{}, map[string]bool{}
	for i := range 50 {
		tags[s.do("PUT", "/counter", strings.NewReader(fmt.Sprintf("%09d", i))).want(t, 204).Header.Get("ETag")] = true
		dates[s.do("HEAD", "/counter", nil).Header.Get("Last-Modified")] = true // macOS goes by them
	}
	if len(tags) != 50 || len(dates) != 50 {
		t.Errorf("50 versions have %d ETags and %d dates", len(tags), len(dates))
	}

	// The condition held when the body began, and does not when it has come.
	tag := s.do("HEAD", "/counter", nil).Header.Get("ETag")
	begun := make(chan bool, 3)
	f.set(faults{onWrite: func(u Upload) Upload { begun <- true; return u }})
	body, in := io.Pipe()
	ended := make(chan response)
	go func() { ended <- s.do("PUT", "/counter", body, "If-Match: "+tag) }()
	fmt.Fprint(in, "late")
	<-begun
	s.do("PUT", "/counter", strings.NewReader("first")).want(t, 204)
	<-begun
	in.Close()
	(<-ended).want(t, 412)
	if got := read(t, root, "counter"); got != "first" || ls(t, root) != "counter" {
		t.Errorf("%q in %s", got, ls(t, root))
	}
	// The same with a lock.
	body, in = io.Pipe()
	go func() { ended <- s.do("PUT", "/counter", body) }()
	fmt.Fprint(in, "late")
	<-begun
	s.lock("/counter", "exclusive")
	in.Close()
	(<-ended).want(t, 423)
	if got := read(t, root, "counter"); got != "first" || ls(t, root) != "counter" {
		t.Errorf("%q in %s", got, ls(t, root))
	}
}
