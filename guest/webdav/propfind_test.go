package webdav

import (
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const macOSPropfind = `<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop>` +
	`<D:getlastmodified/><D:getcontentlength/><D:creationdate/><D:resourcetype/></D:prop></D:propfind>`

type multistatusDoc struct {
	XMLName   xml.Name `xml:"DAV: multistatus"`
	Responses []struct {
		Href     string `xml:"DAV: href"`
		Propstat []struct {
			Status string `xml:"DAV: status"`
			Prop   struct {
				Props []struct {
					XMLName xml.Name
					Inner   string `xml:",innerxml"`
					Text    string `xml:",chardata"`
				} `xml:",any"`
			} `xml:"DAV: prop"`
		} `xml:"DAV: propstat"`
	} `xml:"DAV: response"`
}

// entries maps href to property to "status value".
type entries map[string]map[string]string

func (s *testServer) propfind(path, depth, body string) entries {
	s.t.Helper()
	res := s.do("PROPFIND", path, strings.NewReader(body), "Depth: "+depth).want(s.t, 207)
	return parse(s.t, res.body)
}

func parse(t *testing.T, body string) entries {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(body)) // strict: characters, names, nesting
	for {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the 207 is not well-formed: %v\n%s", err, body)
		}
	}
	var doc multistatusDoc
	if err := xml.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	all := entries{}
	for _, r := range doc.Responses {
		props := map[string]string{}
		for _, ps := range r.Propstat {
			for _, p := range ps.Prop.Props {
				v := p.Text
				if strings.Contains(p.Inner, "<") {
					v = p.Inner
				}
				name := strings.TrimPrefix(p.XMLName.Space+" ", "DAV: ") + p.XMLName.Local
				if _, ok := props[name]; ok {
					t.Errorf("%s: %s twice", r.Href, name)
				}
				props[name] = strings.TrimSpace(strings.Fields(ps.Status)[1] + " " + v)
			}
		}
		if _, ok := all[r.Href]; ok {
			t.Errorf("%s is listed twice", r.Href)
		}
		all[r.Href] = props
	}
	return all
}

func (e entries) hrefs() string {
	var all []string
	for h := range e {
		all = append(all, h)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestMacOSMountsByThisPropfind(t *testing.T) {
	s, root := serveDir(t, true)
	when := time.Date(2024, 2, 29, 12, 34, 56, 789, time.UTC)
	write(t, "hello", root, "f.txt")
	for _, p := range []string{"f.txt", "."} {
		if err := os.Chtimes(filepath.Join(root, p), when, when); err != nil {
			t.Fatal(err)
		}
	}
	e := s.propfind("/", "0", macOSPropfind)
	want := fmt.Sprint(map[string]string{
		"creationdate": "200 2024-02-29T12:34:56Z", "getcontentlength": "404",
		"getlastmodified": "200 Thu, 29 Feb 2024 12:34:56 GMT", "resourcetype": "200 <D:collection/>"})
	if got := fmt.Sprint(e["/"]); len(e) != 1 || got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	e = s.propfind("/", "1", macOSPropfind)
	if e.hrefs() != "/ /f.txt" || e["/f.txt"]["getcontentlength"] != "200 5" || e["/f.txt"]["resourcetype"] != "200" {
		t.Errorf("got %v", e)
	}
}

func TestPropfindForms(t *testing.T) {
	s, root := serveDir(t, false)
	write(t, "hello", root, "f.TXT")
	all := s.propfind("/f.TXT", "0", "")["/f.TXT"]
	for p, v := range map[string]string{"displayname": "200 f.TXT", "getcontenttype": "200 text/plain; charset=utf-8", "getcontentlength": "200 5"} {
		if all[p] != v {
			t.Errorf("%s is %q", p, all[p])
		}
	}
	if etag := s.do("HEAD", "/f.TXT", nil).Header.Get("ETag"); all["getetag"] != "200 "+etag {
		t.Errorf("getetag %q, ETag %q", all["getetag"], etag)
	}
	if got := s.propfind("/f.TXT", "0", `<propfind xmlns="DAV:"><allprop/></propfind>`)["/f.TXT"]; fmt.Sprint(got) != fmt.Sprint(all) {
		t.Errorf("allprop %v", got)
	}
	names := s.propfind("/f.TXT", "0", `<propfind xmlns="DAV:"><propname/></propfind>`)["/f.TXT"]
	if len(names) != len(all) || names["getetag"] != "200" {
		t.Errorf("propname %v", names)
	}
	got := s.propfind("/f.TXT", "0", `<a:propfind xmlns:a="DAV:"><a:prop><a:getetag/><a:getetag/><a:nope/><b xmlns=""/><c:d xmlns:c="u:&amp;&quot;&lt;"/></a:prop></a:propfind>`)["/f.TXT"]
	if len(got) != 4 || got["nope"] != "404" || got[" b"] != "404" || got[`u:&"< d`] != "404" {
		t.Errorf("prop %v", got)
	}
	if got := s.propfind("/f.TXT", "0", `<propfind xmlns="DAV:"><allprop/><include><x/><getetag/></include></propfind>`)["/f.TXT"]; len(got) != len(all)+1 || got["x"] != "404" {
		t.Errorf("include %v", got)
	}
	for _, body := range []string{"x", "<", `<propfind xmlns="DAV:">`, `<propfind xmlns="DAV:"/>`, `<propfind><prop/></propfind>`,
		`<propfind xmlns="DAV:"><prop/><allprop/></propfind>`, `<propfind xmlns="DAV:"><prop><x:y xmlns:x=""/></prop></propfind>`,
		`<propfind xmlns="DAV:"><prop><a:/></prop></propfind>`, `<a></b>`} {
		s.do("PROPFIND", "/", strings.NewReader(body), "Depth: 0").want(t, 400)
	}
	s.do("PROPFIND", "/none", nil, "Depth: 0").want(t, 404)
}

func TestPropfindIsFinite(t *testing.T) {
	s, _ := serveDir(t, true)
	for _, headers := range [][]string{nil, {"Depth: infinity"}} {
		if res := s.do("PROPFIND", "/", nil, headers...).want(t, 403); !strings.Contains(res.body, "<D:propfind-finite-depth/>") {
			t.Errorf("%v: %s", headers, res.body)
		}
	}
	s.do("PROPFIND", "/", nil, "Depth: 2").want(t, 400)
}

func TestOddNamesAreListedAndFetched(t *testing.T) {
	s, root := serveDir(t, true)
	names := []string{"-rf", "new\nline", "tab\there", "cr\r", "100%", "%41", "#frag", "que?ry", "a b", "a+b", "a&b<c>'\"", "semi;colon", "ctl\x01\x1f\x7f", "latin1-\xe4\xff",
		"half\xc3", "ä-nfc", "a\u0308-nfd", "\u202ertl", "emoji😀", "back\\slash", "...", "~", "a:b", "http:", "x\uFFFEy", "\xed\xa0\x80", strings.Repeat("n", 255), "]]>", "[x]", "{y}", "|`^"}
	for _, n := range names {
		write(t, "data of "+n, root, n)
	}
	write(t, "x", root, "dir \xff?", "child")
	for _, body := range []string{"", macOSPropfind} {
		e := s.propfind("/", "1", body)
		if len(e) != len(names)+2 {
			t.Errorf("%d entries, want %d", len(e), len(names)+2)
		}
		for href := range e {
			u, err := url.Parse(href)
			if err != nil || u.RawQuery != "" || u.Fragment != "" {
				t.Errorf("href %q: %v", href, err)
				continue
			}
			if strings.HasSuffix(href, "/") {
				continue
			}
			if got := s.do("GET", href, nil).want(t, 200).body; got != "data of "+strings.TrimPrefix(u.Path, "/") {
				t.Errorf("%s: got %q", href, got)
			}
		}
	}
	if e := s.propfind("/dir%20%ff%3f", "1", ""); e.hrefs() != "/dir%20%FF%3F/ /dir%20%FF%3F/child" {
		t.Errorf("got %s", e.hrefs())
	}
	e := s.propfind("/", "1", "")
	if got := e["/new%0Aline"]["displayname"]; got != "200 new\nline" {
		t.Errorf("displayname %q", got)
	}
	if _, ok := e["/ctl%01%1F%7F"]["displayname"]; ok {
		t.Error("displayname of a name that XML cannot hold")
	}
}

func TestPropfindOpensNothing(t *testing.T) {
	root := t.TempDir()
	for i := range 2000 {
		write(t, "x", root, fmt.Sprintf("file%04d%s", i, []string{"", ".txt", ".html"}[i%3]))
	}
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, true)
	for _, body := range []string{"", macOSPropfind, `<propfind xmlns="DAV:"><prop><getcontenttype/><getetag/></prop></propfind>`} {
		if e := s.propfind("/", "1", body); len(e) != 2001 {
			t.Errorf("%d entries", len(e))
		}
	}
	if f.opens != 0 || f.listing != 3 || f.stats != 3 {
		t.Errorf("%d files opened, %d folders read, %d stats in 3 requests", f.opens, f.listing, f.stats)
	}
	s.do("HEAD", "/file0001.txt", nil).want(t, 200)
	if f.opens != 0 {
		t.Error("HEAD opens the file")
	}
}

func TestPropfindFailsWhole(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "f")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, true)
	failing := func(err error) {
		f.set(faults{onReadDir: func([]fs.FileInfo) ([]fs.FileInfo, error) { return nil, err }})
	}
	failing(syscall.EIO)
	s.do("PROPFIND", "/", nil, "Depth: 1").want(t, 500)
	s.do("PROPFIND", "/", nil, "Depth: 1", "User-Agent: WebDAVFS/3.0.0").want(t, 507)
	failing(syscall.EACCES)
	s.do("PROPFIND", "/", nil, "Depth: 1").want(t, 403)
	f.set(faults{onStat: func(string) error { return syscall.ENOTCONN }})
	for _, method := range []string{"PROPFIND", "GET", "HEAD", "OPTIONS"} {
		s.do(method, "/f", nil, "Depth: 0").want(t, 500)
	}
}

func TestUndescribableEntriesStayListed(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "f")
	f := &fakeFS{Dir: newDir(t, root), faults: faults{onReadDir: func(infos []fs.FileInfo) ([]fs.FileInfo, error) {
		return append(infos, unknown{"closed", syscall.EACCES}), nil
	}}}
	e := serve(t, f, true).propfind("/", "1", "")
	if e["/closed"]["displayname"] != "200 closed" || e["/closed"]["getcontentlength"] != "403" || e["/f"]["getcontentlength"] != "200 1" {
		t.Errorf("got %v", e)
	}
}

func TestExtremeDates(t *testing.T) {
	s, root := serveDir(t, true)
	for i, when := range []time.Time{time.Unix(0, 0), time.Unix(-1<<33, 0), time.Unix(1<<33, 0)} {
		name := fmt.Sprint(i)
		write(t, "x", root, name)
		if err := os.Chtimes(filepath.Join(root, name), when, when); err != nil {
			t.Fatal(err)
		}
		p := s.propfind("/"+name, "0", "")["/"+name]
		if _, err := time.Parse(time.RFC3339, strings.TrimPrefix(p["creationdate"], "200 ")); err != nil {
			t.Error(err)
		}
		if _, err := time.Parse(http.TimeFormat, strings.TrimPrefix(p["getlastmodified"], "200 ")); err != nil {
			t.Error(err)
		}
	}
	if got := writable(time.Date(123456, 1, 1, 0, 0, 0, 0, time.UTC)).Format(time.RFC3339); got != "9999-12-31T23:59:59Z" {
		t.Error(got)
	}
}
