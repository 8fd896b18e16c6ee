package webdav

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
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

// FuzzIf: what is accepted has conditions, its parts are parts of the header, and written
// anew it is accepted as the same.
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
		var anew strings.Builder
		for _, l := range lists {
			if l.resource != "" {
				anew.WriteString("<" + l.resource + ">")
			}
			anew.WriteString("(")
			for _, c := range l.all {
				if c.not {
					anew.WriteString("Not ")
				}
				if c.token != "" {
					anew.WriteString("<" + c.token + ">")
				} else {
					anew.WriteString("[" + c.etag + "]")
				}
			}
			anew.WriteString(")")
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
		if again, err := parseIf(anew.String()); err != nil || !reflect.DeepEqual(again, lists) {
			t.Errorf("%q becomes %q, which is %+v (%v)", s, anew.String(), again, err)
		}
	})
}

// condition is a header, and the status that it leads to; 0: it holds.
type condition struct {
	header string
	status int
}

// conditions are some for /f of a server with /g, /d/x, and a lock on /d.
func (s *testServer) conditions() []condition {
	tag := func(name string) string { return s.do("HEAD", name, nil).want(s.t, 200).Header.Get("ETag") }
	token := s.lock("/d", "exclusive", "Depth: infinity")
	modified := s.do("HEAD", "/f", nil).Header.Get("Last-Modified")
	earlier := time.Now().Add(-time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	return []condition{
		{"If-Match: " + tag("/f"), 0}, {`If-Match: "x", ` + tag("/f"), 0}, {"If-Match: *", 0}, {`If-Match: "x"`, 412}, {"If-Match: W/" + tag("/f"), 412}, {"If-Match: x", 400},
		{"If-None-Match: *", 412}, {"If-None-Match: " + tag("/f"), 412}, {"If-None-Match: W/" + tag("/f"), 412}, {`If-None-Match: "x"`, 0},
		{"If-Unmodified-Since: " + modified, 0}, {"If-Unmodified-Since: " + earlier, 412}, {"If-Unmodified-Since: yesterday", 0},
		{"If: ([" + tag("/f") + "])", 0}, {`If: (["x"])`, 412}, {`If: (Not ["x"])`, 0}, {"If: (Not [" + tag("/f") + "])", 412}, {`If: (["x"]) ([` + tag("/f") + "])", 0},
		{"If: ([" + tag("/f") + `] ["x"])`, 412}, {"If: </g> ([" + tag("/g") + "])", 0}, {"If: </g> ([" + tag("/f") + "])", 412}, {"If: </none> (Not [" + tag("/f") + "])", 0},
		{"If: <" + s.URL + "/g> ([" + tag("/g") + "])", 0}, {"If: <http://localhost:1/g> ([" + tag("/g") + "])", 412},
		{"If: (<DAV:no-lock>)", 412}, {"If: (Not <DAV:no-lock>)", 0}, {"If: </d/x> (" + token + ")", 0}, {"If: </f> (" + token + ")", 412}, {"If: (" + token + ")", 412},
		{"If: (", 400}, {"If: </g>", 400},
	}
}

// setModTime is a body of PROPPATCH.
const setModTime = `<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT</D:getlastmodified></D:prop></D:set></D:propertyupdate>`

// Each method that writes heeds each condition (RFC 9110 13, RFC 4918 10.4), and a request
// whose condition does not hold changes nothing.
func TestConditions(t *testing.T) {
	for method, c := range map[string]struct{ body, becomes string }{
		"PUT": {"new", "d f f2 g: new"}, "PROPPATCH": {setModTime, "d f f2 g: f 1998"}, "LOCK": {lockInfo("shared"), "d f f2 g: f"},
		"MOVE": {"", "d f2 g: f"}, "COPY": {"", "d f f2 g: f"}, "DELETE": {"", "d f2 g: "},
	} {
		for i := 0; ; i++ {
			s, root, _ := lockServer(t, "f", "g", "d/x", "f2")
			all := s.conditions()
			if i == len(all) {
				break
			}
			now := func() string {
				is := ls(t, root) + ": "
				of := "f"
				if method == "MOVE" || method == "COPY" {
					of = "f2"
				}
				if b, err := os.ReadFile(filepath.Join(root, of)); err == nil {
					is += string(b)
				}
				if fi, err := os.Stat(filepath.Join(root, "f")); err == nil && fi.ModTime().Year() == 1998 {
					is += " 1998"
				}
				return is
			}
			want, header := now(), all[i].header
			res := s.do(method, "/f", strings.NewReader(c.body), header, "Destination: /f2", "Depth: infinity")
			if all[i].status == 0 {
				want = c.becomes
				if res.StatusCode >= 300 || method == "LOCK" && res.Header.Get("Lock-Token") == "" {
					t.Errorf("%s, %s: %d: %s", method, header, res.StatusCode, res.body)
				}
			} else if res.StatusCode != all[i].status {
				t.Errorf("%s, %s: %d: %s", method, header, res.StatusCode, res.body)
			}
			if is := now(); is != want {
				t.Errorf("%s, %s: there is %q, not %q", method, header, is, want)
			}
		}
	}
}

// So do those that make something new; and an answer to PUT has the ETag of what it made.
func TestConditionsOfNew(t *testing.T) {
	s, _, _ := lockServer(t)
	tag := func(name string) string { return s.do("HEAD", name, nil).want(t, 200).Header.Get("ETag") }
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
	put(t, filepath.Join(root, "d", "counter"), "000")
	if err := os.Symlink("d", filepath.Join(root, "l")); err != nil {
		t.Fatal(err)
	}
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, false)
	const clients, each = 8, 10
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			counter := []string{"/d/counter", "/l/counter"}[i%2] // the same by a second path
			for done := 0; done < each; {
				got := s.do("GET", counter, nil)
				n, err := strconv.Atoi(got.body)
				if err != nil {
					t.Error(err)
					return
				}
				// As long as before: by the size alone nobody could tell them apart.
				r := s.do("PUT", counter, strings.NewReader(fmt.Sprintf("%03d", n+1)), "If-Match: "+got.Header.Get("ETag"))
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
	if got := read(t, root, "d", "counter"); got != fmt.Sprintf("%03d", clients*each) {
		t.Errorf("%s of %d updates", got, clients*each)
	}

	// Versions of the same size, one right after the other, are told apart.
	tags, dates := map[string]bool{}, map[string]bool{}
	for i := range 50 {
		tags[s.do("PUT", "/d/counter", strings.NewReader(fmt.Sprintf("%09d", i))).want(t, 204).Header.Get("ETag")] = true
		dates[s.do("HEAD", "/d/counter", nil).Header.Get("Last-Modified")] = true // macOS goes by them
	}
	if len(tags) != 50 || len(dates) != 50 {
		t.Errorf("50 versions have %d ETags and %d dates", len(tags), len(dates))
	}

	for range 2 { // with a time of the client's own
		tags[s.do("PUT", "/d/counter", strings.NewReader("x"), "X-OC-Mtime: 1000000000").want(t, 204).Header.Get("ETag")] = true
	}
	if len(tags) != 52 {
		t.Error("two versions of the same size and the client's time have one ETag")
	}

	// The condition held when the body began, and does not when it has come.
	tag := s.do("HEAD", "/d/counter", nil).Header.Get("ETag")
	begun := make(chan bool, 3)
	f.set(faults{onWrite: func(u Upload) Upload { begun <- true; return u }})
	body, in := io.Pipe()
	ended := make(chan response)
	go func() { ended <- s.do("PUT", "/d/counter", body, "If-Match: "+tag) }()
	fmt.Fprint(in, "late")
	<-begun
	s.do("PUT", "/d/counter", strings.NewReader("first")).want(t, 204)
	<-begun
	in.Close()
	(<-ended).want(t, 412)
	if got := read(t, root, "d", "counter"); got != "first" || ls(t, root+"/d") != "counter" {
		t.Errorf("%q in %s", got, ls(t, root+"/d"))
	}
	// The same with a lock.
	body, in = io.Pipe()
	go func() { ended <- s.do("PUT", "/d/counter", body) }()
	fmt.Fprint(in, "late")
	<-begun
	s.lock("/d/counter", "exclusive")
	in.Close()
	(<-ended).want(t, 423)
	if got := read(t, root, "d", "counter"); got != "first" || ls(t, root+"/d") != "counter" {
		t.Errorf("%q in %s", got, ls(t, root+"/d"))
	}
}
