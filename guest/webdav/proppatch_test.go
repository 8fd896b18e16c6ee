package webdav

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func propertyUpdateOf(instructions string) string {
	return `<?xml version="1.0"?><D:propertyupdate xmlns:D="DAV:" xmlns:p="urn:p">` + instructions + `</D:propertyupdate>`
}

var removeNothing = propertyUpdateOf("<D:remove><D:prop><p:none/></D:prop></D:remove>")

// patch is PROPPATCH, and tells which properties ended with which status.
func (s *testServer) patch(path, instructions string, want map[string]string) {
	s.t.Helper()
	body := s.do("PROPPATCH", path, strings.NewReader(propertyUpdateOf(instructions))).want(s.t, 207).body
	for status, props := range want {
		if !strings.Contains(body, "<D:propstat><D:prop>"+props+"</D:prop><D:status>HTTP/1.1 "+status+"</D:status></D:propstat>") {
			s.t.Errorf("%s: no %s with %s in %s", instructions, props, status, body)
		}
	}
	if strings.Count(body, "<D:propstat>") != len(want) {
		s.t.Errorf("%s: %s", instructions, body)
	}
}

// has is what PROPFIND says of a property of urn:p, "" if it is not there.
func (s *testServer) has(path, prop string) string {
	s.t.Helper()
	body := s.do("PROPFIND", path, strings.NewReader(`<propfind xmlns="DAV:" xmlns:p="urn:p"><prop><p:`+prop+`/></prop></propfind>`), "Depth: 0").want(s.t, 207).body
	_, rest, found := strings.Cut(body, "<x:"+prop+` xmlns:x="urn:p"`)
	value, _, _ := strings.Cut(rest, "</x:"+prop+">")
	if !found || strings.Contains(body, "404") {
		return ""
	}
	return value[strings.Index(value, ">")+1:]
}

// What a client attaches to a file or folder stays with it.
func TestDeadProperties(t *testing.T) {
	s, root, _ := lockServer(t, "f", "d/g", "other")
	if err := unix.Setxattr(filepath.Join(root, "f"), "user.somebody's", []byte("x"), 0); err != nil {
		t.Skip("the file system for temporary files has no extended attributes: ", err)
	}
	const one, two = `<x:one xmlns:x="urn:p"></x:one>`, `<x:two xmlns:x="urn:p"></x:two>`
	s.patch("/f", `<D:set><D:prop><p:one>1</p:one><p:two q="&quot;" xml:lang="de"><in xmlns="urn:q">&lt;2&amp;</in></p:two></D:prop></D:set>`, map[string]string{"200 OK": one + two})
	if got := s.has("/f", "one"); got != "1" {
		t.Errorf("one is %q", got)
	}
	if got := s.has("/f", "two"); got != `<x:in xmlns:x="urn:q">&lt;2&amp;</x:in>` {
		t.Errorf("two is %q", got)
	}
	s.patch("/d", `<D:set><D:prop xml:lang="fr"><p:one>un</p:one></D:prop></D:set>`, map[string]string{"200 OK": one})
	all := s.do("PROPFIND", "/", strings.NewReader(`<propfind xmlns="DAV:"><allprop/></propfind>`), "Depth: 1").want(t, 207).body
	for _, part := range []string{`<x:one xmlns:x="urn:p">1</x:one>`, `<x:two xmlns:x="urn:p" q="&#34;" xml:lang="de">`, `<x:one xmlns:x="urn:p" xml:lang="fr">un</x:one>`} {
		if strings.Count(all, part) != 1 {
			t.Errorf("all properties: no %s in %s", part, all)
		}
	}
	names := s.do("PROPFIND", "/f", strings.NewReader(`<propfind xmlns="DAV:"><propname/></propfind>`), "Depth: 0").want(t, 207).body
	if !strings.Contains(names, one) || strings.Contains(names, ">1<") {
		t.Errorf("names: %s", names)
	}
	// In order: the last one counts. What is not there can be removed.
	s.patch("/f", `<D:remove><D:prop><p:two/><p:none/></D:prop></D:remove><D:set><D:prop><p:one>2</p:one></D:prop></D:set><D:set><D:prop><p:one>3</p:one></D:prop></D:set>`,
		map[string]string{"200 OK": two + `<x:none xmlns:x="urn:p"></x:none>` + one + one})
	if s.has("/f", "one") != "3" || s.has("/f", "two") != "" {
		t.Errorf("one is %q, two is %q", s.has("/f", "one"), s.has("/f", "two"))
	}

	somebodys := func(name string) bool {
		n, _ := unix.Getxattr(filepath.Join(root, name), "user.somebody's", make([]byte, 9))
		return n == 1
	}
	s.do("PUT", "/f", strings.NewReader("new contents")).want(t, 204)
	if s.has("/f", "one") != "3" || !somebodys("f") {
		t.Error("PUT loses properties")
	}
	s.do("COPY", "/f", nil, "Destination: /copy").want(t, 201)
	s.do("COPY", "/f", nil, "Destination: /other").want(t, 204)
	s.do("MOVE", "/f", nil, "Destination: /moved").want(t, 201)
	for _, name := range []string{"copy", "other", "moved"} {
		if s.has("/"+name, "one") != "3" || !somebodys(name) || read(t, root, name) != "new contents" {
			t.Errorf("%s has one: %q, somebody's: %t", name, s.has("/"+name, "one"), somebodys(name))
		}
	}
	s.do("COPY", "/d/g", nil, "Destination: /moved").want(t, 204)
	if s.has("/moved", "one") != "" {
		t.Error("a copy has the properties of what it replaced")
	}
}

// Properties are of the entry that they were set for, also where it is a link to it.
func TestDeadPropertiesOfTheRightFile(t *testing.T) {
	s, root, _ := lockServer(t, "foo", ".foo", "d/foo")
	if err := unix.Setxattr(filepath.Join(root, "foo"), "user.x", nil, 0); err != nil {
		t.Skip("the file system for temporary files has no extended attributes: ", err)
	}
	if err := os.Symlink("foo", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	const one = `<x:one xmlns:x="urn:p"></x:one>`
	s.patch("/foo", "<D:set><D:prop><p:one>1</p:one></D:prop></D:set>", map[string]string{"200 OK": one})
	s.patch("/.foo", "<D:set><D:prop><p:one>2</p:one></D:prop></D:set>", map[string]string{"200 OK": one})
	for _, depth := range []string{"0", "1"} {
		for at, want := range map[string]string{"/": "12", "/d": ""} {
			body := s.do("PROPFIND", at, strings.NewReader(`<propfind xmlns="DAV:" xmlns:p="urn:p"><prop><p:one/></prop></propfind>`), "Depth: "+depth).want(t, 207).body
			if depth == "0" {
				want = ""
			}
			for name, value := range map[string]string{"/foo": "1", "/.foo": "2", "/link": "1"} {
				_, rest, _ := strings.Cut(body, "<D:href>"+name+"</D:href>")
				entry, _, _ := strings.Cut(rest, "</D:response>")
				if has := strings.Contains(entry, ">"+value+"</x:one>"); has != (want != "") {
					t.Errorf("%s, depth %s: %s has %s", at, depth, name, entry)
				}
			}
		}
	}
	s.patch("/link", "<D:set><D:prop><D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT</D:getlastmodified></D:prop></D:set>",
		map[string]string{"200 OK": `<x:getlastmodified xmlns:x="DAV:"></x:getlastmodified>`})
	if fi, err := os.Stat(filepath.Join(root, "foo")); err != nil || fi.ModTime().Unix() != 884597156 {
		t.Errorf("through the link the time becomes %v (%v)", fi.ModTime(), err)
	}
	s.do("COPY", "/link", nil, "Destination: /copy").want(t, 201)
	if got := s.has("/copy", "one"); got != "1" {
		t.Errorf("a copy through the link has %q", got)
	}
}

// What is kept of XML, others must be able to read, and little is little.
func TestXMLThatIsKept(t *testing.T) {
	s, _, _ := lockServer(t, "f")
	for _, inner := range []string{
		`<q:a/>`, `<a q:b="1"/>`, `<a b="1" b="2"/>`, `<a xmlns:p1="urn:1" xmlns:p2="urn:1" p1:b="1" p2:b="2"/>`, `<b:/>`, `<:b/>`, `<a :b="1"/>`, `<a:b:c/>`, `<xml:a/>`, `<xmlns:a/>`,
		`<a xmlns:xml="urn:x"/>`, `<a xmlns:q="http://www.w3.org/XML/1998/namespace"/>`, `<a xmlns:q=""/>`,
	} {
		s.do("LOCK", "/f", strings.NewReader(strings.Replace(lockInfo("shared"), "eve", inner, 1)), "Depth: 0").want(t, 400)
		s.do("PROPPATCH", "/f", strings.NewReader(propertyUpdateOf(`<D:set><D:prop><p:one>`+inner+`</p:one></D:prop></D:set>`))).want(t, 400)
		s.do("PROPFIND", "/f", strings.NewReader(`<propfind xmlns="DAV:"><prop>`+inner+`</prop></propfind>`), "Depth: 0").want(t, 400)
	}
	// What is bound for good may be said all the same.
	s.do("PROPFIND", "/f", strings.NewReader(`<propfind xmlns="DAV:" xmlns:xml="http://www.w3.org/XML/1998/namespace"><prop><getetag/></prop></propfind>`), "Depth: 0").want(t, 207)
	// Each element would declare it.
	many := `<p:one xmlns="urn:` + strings.Repeat("x", 20<<10) + `">` + strings.Repeat("<a/>", 5000) + `</p:one>`
	s.do("PROPPATCH", "/f", strings.NewReader(propertyUpdateOf(`<D:set><D:prop>`+many+`</D:prop></D:set>`))).want(t, 413)
	before := new(runtime.MemStats)
	runtime.ReadMemStats(before)
	s.do("LOCK", "/f", strings.NewReader(strings.Replace(lockInfo("shared"), "eve", many, 1)), "Depth: 0").want(t, 400)
	after := new(runtime.MemStats)
	if runtime.ReadMemStats(after); after.TotalAlloc-before.TotalAlloc > 32<<20 {
		t.Errorf("a body of 40 KiB takes %d MiB", (after.TotalAlloc-before.TotalAlloc)>>20)
	}
}

// A PROPPATCH is done whole or not at all, and says why (RFC 4918 9.2).
func TestPropPatchIsAllOrNothing(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "f"), "f")
	dir := &keeperFS{Dir: newDir(t, root)}
	s := serve(t, dir, false)
	const one = `<x:one xmlns:x="urn:p"></x:one>`
	const name, date = `<x:displayname xmlns:x="DAV:"></x:displayname>`, `<x:getlastmodified xmlns:x="DAV:"></x:getlastmodified>`
	set := func(props string) string { return "<D:set><D:prop>" + props + "</D:prop></D:set>" }
	const a = "<p:one>1</p:one>"
	s.patch("/f", set(a+"<D:displayname>x</D:displayname>"), map[string]string{"403 Forbidden": name, "424 Failed Dependency": one})
	s.patch("/f", set(a+"<D:getlastmodified>today</D:getlastmodified>"), map[string]string{"409 Conflict": date, "424 Failed Dependency": one})
	s.patch("/f", "<D:remove><D:prop><D:getlastmodified/></D:prop></D:remove>"+set(a), map[string]string{"403 Forbidden": date, "424 Failed Dependency": one})
	const monday = "<D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT</D:getlastmodified>"
	for err, status := range map[error]string{errors.ErrUnsupported: "403 Forbidden", syscall.ENOSPC: "507 Insufficient Storage", syscall.EDQUOT: "507 Insufficient Storage", syscall.EPERM: "403 Forbidden"} {
		dir.fails = err
		s.patch("/f", set(a+monday), map[string]string{status: one, "424 Failed Dependency": date})
	}
	dir.fails = nil
	s.patch("/f", set("<p:one>"+strings.Repeat("x", deadPropsMax)+"</p:one>"), map[string]string{"507 Insufficient Storage": one})
	s.patch("/f", set(a+monday), map[string]string{"200 OK": one + date})
	if fi, err := os.Stat(filepath.Join(root, "f")); err != nil || fi.ModTime().Unix() != 884597156 || string(dir.kept) != `<x:one xmlns:x="urn:p">1</x:one>` {
		t.Errorf("%v, %v, kept %s", fi.ModTime(), err, dir.kept)
	}
	dir.fails = syscall.EIO
	s.do("PROPPATCH", "/f", strings.NewReader(propertyUpdateOf(set(a+"<D:getlastmodified>Tue, 13 Jan 1998 09:25:56 GMT</D:getlastmodified>")))).want(t, 500)
	if fi, err := os.Stat(filepath.Join(root, "f")); err != nil || fi.ModTime().Unix() != 884597156 {
		t.Errorf("what failed has set the time: %v (%v)", fi.ModTime(), err)
	}
	dir.fails, dir.timed = nil, syscall.EPERM
	s.do("PROPPATCH", "/f", strings.NewReader(propertyUpdateOf(set("<p:one>2</p:one>"+monday)))).want(t, 403)
	if string(dir.kept) != `<x:one xmlns:x="urn:p">1</x:one>` {
		t.Errorf("what failed has set %s", dir.kept)
	}
	s.do("PROPPATCH", "/none", strings.NewReader(propertyUpdateOf(set(a)))).want(t, 404)
	for _, body := range []string{"", "x", "<propertyupdate/>", propertyUpdateOf(""), propertyUpdateOf(set("")), propertyUpdateOf(set(`<x xmlns:q=""/>`)),
		propertyUpdateOf(set(strings.Repeat("<p:x/>", propertiesMax+1)))} {
		if res := s.do("PROPPATCH", "/f", strings.NewReader(body)); res.StatusCode != 400 {
			t.Errorf("%.80s: %d: %s", body, res.StatusCode, res.body)
		}
	}
}

// keeperFS keeps the properties of one file, or fails to.
type keeperFS struct {
	*Dir
	kept  []byte
	fails error
	timed error // what setting a time comes to
}

func (f *keeperFS) SetModTime(ctx context.Context, name string, t time.Time) error {
	if f.timed != nil {
		return f.timed
	}
	return f.Dir.SetModTime(ctx, name, t)
}

func (f *keeperFS) SetProperties(_ context.Context, _ string, props []byte) error {
	if f.fails == nil {
		f.kept = props
	}
	return f.fails
}

func (f *keeperFS) Properties(context.Context, string) ([]byte, error) { return f.kept, nil }

// The modification time of a file is its owner's: COPY keeps it, and clients may set it.
func TestModTimes(t *testing.T) {
	s, root, _ := lockServer(t, "f")
	then := time.Unix(884597156, 0)
	if err := os.Chtimes(filepath.Join(root, "f"), then, then); err != nil {
		t.Fatal(err)
	}
	want := func(name string, at time.Time) {
		t.Helper()
		if fi, err := os.Stat(filepath.Join(root, name)); err != nil || fi.ModTime().Unix() != at.Unix() {
			t.Errorf("%s: %v, %v", name, fi.ModTime(), err)
		}
	}
	s.do("COPY", "/f", nil, "Destination: /copy").want(t, 201)
	want("copy", then)
	for _, v := range []string{"1000000001", "1000000001.5"} {
		if got := s.do("PUT", "/put", strings.NewReader("x"), "X-OC-Mtime: "+v).Header.Get("X-OC-Mtime"); got != "accepted" {
			t.Errorf("X-OC-Mtime: %q", got)
		}
		want("put", time.Unix(1000000001, 0))
	}
	for _, v := range []string{"x", "1.x", "1e9", "-1", "1790000000000"} {
		s.do("PUT", "/put", strings.NewReader("y"), "X-OC-Mtime: "+v).want(t, 400)
	}
	if read(t, root, "put") != "x" {
		t.Error("a refused PUT has changed the file")
	}
	if got := fmt.Sprint(s.do("HEAD", "/copy", nil).Header.Get("Last-Modified")); got != "Mon, 12 Jan 1998 09:25:56 GMT" {
		t.Error(got)
	}
}
