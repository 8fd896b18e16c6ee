package webdav

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"golang.org/x/text/unicode/norm"
)

// macOSQuota is what webdavfs asks of a volume (webdav_network.c, network_statfs):
// RFC 4331's properties, and those of a draft before it.
const macOSQuota = `<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop>` +
	`<D:quota-available-bytes/><D:quota-used-bytes/><D:quota/><D:quotaused/></D:prop></D:propfind>`

// mac replays what macOS's client sends.
type mac struct{ *testServer }

func (m mac) do(method, path, body string, headers ...string) response {
	m.t.Helper()
	return m.testServer.do(method, path, strings.NewReader(body), append(headers, macOSAgent, "Accept: */*")...)
}

func (m mac) propfind(path, depth, body string) entries {
	m.t.Helper()
	return parse(m.t, m.do("PROPFIND", path, body, "Depth: "+depth, "Content-Type: text/xml").want(m.t, 207).body)
}

// list is a listing as webdavfs takes it in (webdav_parse.c, parse_opendir and
// GetComponentName): a response whose path, without escapes and in UTF-16, is not longer
// than the one that was asked for is the folder, every other is a child, under its last
// element.
func (m mac) list(folder string) (names []string) {
	m.t.Helper()
	length := func(href string) int {
		u, err := url.Parse(href)
		if err != nil {
			m.t.Fatal(err)
		}
		return len(utf16.Encode([]rune(u.Path)))
	}
	asked := (&url.URL{Path: folder}).EscapedPath()
	for href, props := range m.propfind(asked, "1", macOSPropfind) {
		m.describes(href, props)
		if length(href) <= length(asked) {
			names = append(names, "./")
			continue
		}
		u, _ := url.Parse(href)
		name := path.Base(u.Path)
		if props["resourcetype"] == "200 <D:collection/>" {
			name += "/"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// describes fails if props are not what webdavfs makes a stat of.
func (m mac) describes(href string, props map[string]string) {
	m.t.Helper()
	if _, err := http.ParseTime(strings.TrimPrefix(props["getlastmodified"], "200 ")); err != nil {
		m.t.Errorf("%s: %v", href, err)
	}
	if _, err := time.Parse(time.RFC3339, strings.TrimPrefix(props["creationdate"], "200 ")); err != nil {
		m.t.Errorf("%s: %v", href, err)
	}
	folder := strings.HasSuffix(href, "/")
	if folder != (props["resourcetype"] == "200 <D:collection/>") || folder != (props["getcontentlength"] == "404") {
		m.t.Errorf("%s: %v", href, props)
	}
}

// TestMacOS is a session of Finder's with a view, from mount to eject.
func TestMacOS(t *testing.T) {
	root := t.TempDir()
	nfc, nfd := norm.NFC.String, norm.NFD.String
	write(t, "hello", root, "hello.txt")
	write(t, strings.Repeat("0123456789", 1000), root, nfc("Ärger"), nfc("größer.txt"))
	write(t, "x", root, nfc("Ärger"), "a", "b")
	f := &roomyFS{Dir: newDir(t, root)}
	s := mac{serve(t, f, true)}
	readOnly := func(res response) {
		t.Helper()
		if got := res.want(t, 200).Header.Get("DAV"); got != "1" {
			t.Errorf("DAV: %s; macOS would mount it read-write", got)
		}
	}

	// Mount. The first request has no credentials; the answer makes macOS send them.
	req, _ := http.NewRequest("OPTIONS", s.URL+"/", nil)
	if got := s.send(req, macOSFirst).want(t, 401).Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic realm=") {
		t.Errorf("WWW-Authenticate: %s", got)
	}
	readOnly(s.testServer.do("OPTIONS", "/", nil, macOSFirst))
	readOnly(s.do("OPTIONS", "/", ""))
	e := s.propfind("/", "0", macOSPropfind)
	if len(e) != 1 || e["/"]["resourcetype"] != "200 <D:collection/>" {
		t.Errorf("the root: %v", e)
	}
	s.describes("/", e["/"])
	for p, v := range s.propfind("/", "0", macOSQuota)["/"] {
		if v != "404" {
			t.Errorf("%s: %s; macOS 15.4 would stall", p, v)
		}
	}
	if n := f.asked.Load(); n != 0 {
		t.Errorf("the file system was asked for its room %d times", n)
	}
	probes := func(folder string) {
		t.Helper()
		for _, p := range []string{"._.", ".DS_Store", "._.DS_Store", ".localized", ".hidden", ".Spotlight-V100", ".metadata_never_index", ".metadata_never_index_unless_rootfs",
			".metadata_direct_scope_only", ".Trashes/501", ".TemporaryItems/folders.501", ".fseventsd", ".VolumeIcon.icns", ".apdisk", "Icon\r", "._hello.txt", nfd("._größer.txt")} {
			s.do("PROPFIND", folder+esc(p)[1:], macOSPropfind, "Depth: 0").want(t, 404)
		}
	}
	probes("/")

	// Finder's windows: the root, and a folder, in the form that it makes of a name.
	if got := strings.Join(s.list("/"), " "); got != "./ hello.txt "+nfc("Ärger/") {
		t.Errorf("listed %+q", got)
	}
	probes("/")
	for _, form := range []func(string) string{nfc, nfd} {
		folder := form("/Ärger/")
		if got := strings.Join(s.list(folder), " "); got != "./ a/ "+nfc("größer.txt") {
			t.Errorf("listed %+q", got)
		}
		if got := strings.Join(s.list(folder+"a/"), " "); got != "./ b" {
			t.Errorf("listed %+q", got)
		}
		probes(esc(folder[1:]))
		file := esc(folder[1:] + form("größer.txt"))
		if e := s.propfind(file, "0", macOSPropfind); len(e) != 1 || e[string(appendHref(nil, folder[1:]+form("größer.txt"), false))]["getcontentlength"] != "200 10000" {
			t.Errorf("the file: %v", e)
		}

		// Open: the whole file, then the same again later, then the rest of one that broke off.
		res := s.do("GET", file, "").want(t, 200)
		date, tag := res.Header.Get("Last-Modified"), res.Header.Get("ETag")
		if len(res.body) != 10000 || res.ContentLength != 10000 || date == "" || tag == "" {
			t.Errorf("%d bytes, %v", len(res.body), res.Header)
		}
		if again := s.do("GET", file, "", "If-Modified-Since: "+date).want(t, 304); again.body != "" || again.Header.Get("ETag") != tag {
			t.Errorf("%q, %v", again.body, again.Header)
		}
		for _, validator := range []string{date, tag} {
			if rest := s.do("GET", file, "", "Range: bytes=9000-", "If-Range: "+validator).want(t, 206); rest.body != res.body[9000:] {
				t.Errorf("If-Range: %s: %d bytes", validator, len(rest.body))
			}
		}
		for _, validator := range []string{"Thu, 01 Jan 1970 00:00:00 GMT", `"other"`} {
			if whole := s.do("GET", file, "", "Range: bytes=9000-", "If-Range: "+validator).want(t, 200); whole.body != res.body {
				t.Errorf("If-Range: %s: %d bytes", validator, len(whole.body))
			}
		}
	}

	// What Finder tries to leave behind is refused, with a reason.
	for _, try := range [][2]string{{"PUT", "/.DS_Store"}, {"PUT", "/._hello.txt"}, {"LOCK", "/hello.txt"}, {"DELETE", "/hello.txt"}, {"MKCOL", "/untitled%20folder"},
		{"MOVE", "/hello.txt"}, {"PROPPATCH", "/hello.txt"}} {
		if res := s.do(try[0], try[1], "", "Destination: "+s.URL+"/other").want(t, 403); !strings.HasPrefix(res.body, "read-only: ") {
			t.Errorf("%s: %q", try[0], res.body)
		}
	}
	if got := ls(t, root); got != "hello.txt "+nfc("Ärger") {
		t.Errorf("the view holds %+q", got)
	}

	// Eject sends nothing; the next mount finds the same.
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	readOnly(s.do("OPTIONS", "/", ""))
}
