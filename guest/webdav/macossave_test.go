package webdav

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// macOSLock is what webdavfs locks with (webdav_network.c, network_lock).
const macOSLock = `<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>` +
	`<D:locktype><D:write/></D:locktype><D:owner><D:href>http://www.apple.com/webdav_fs/</D:href></D:owner></D:lockinfo>`

// macOSErrno is what a program on a Mac gets for a status (webdav_network.c,
// translate_status_to_error).
func macOSErrno(status int) syscall.Errno {
	switch status {
	case 401, 402, 403, 405:
		return syscall.EPERM
	case 413:
		return syscall.EFBIG
	case 414:
		return syscall.ENAMETOOLONG
	case 423, 424:
		return syscall.EBUSY
	case 507:
		return syscall.ENOSPC
	case 404, 409, 410:
		return syscall.ENOENT
	}
	switch status / 100 {
	case 2: // also 207: not every method looks into it
		return 0
	case 4:
		return syscall.EINVAL
	}
	return syscall.ENOENT
}

// fails fails unless res has the status, which a program on a Mac sees as errno.
func (m mac) fails(res response, status int, errno syscall.Errno) {
	m.t.Helper()
	if got := macOSErrno(res.want(m.t, status).StatusCode); got != errno {
		m.t.Errorf("%s %s: %d is %v on a Mac, not %v", res.Request.Method, res.Request.URL.Path, res.StatusCode, got, errno)
	}
}

// stat is what the kernel asks for before it does anything with a name; size -1: a folder,
// -2: nothing there.
func (m mac) stat(path string, size int) {
	m.t.Helper()
	res := m.do("PROPFIND", path, macOSPropfind, "Depth: 0", "Content-Type: text/xml")
	if size == -2 {
		m.fails(res, 404, syscall.ENOENT)
		return
	}
	for href, props := range parse(m.t, res.want(m.t, 207).body) {
		m.describes(href, props)
		want := fmt.Sprintf("200 %d", size)
		if size < 0 {
			want = "404"
		}
		if props["getcontentlength"] != want {
			m.t.Errorf("%s: its length is %s, not %s", path, props["getcontentlength"], want)
		}
	}
}

// open is open(2) to write: it locks, and gets what is there. The token is in the body of
// the answer, where webdavfs looks for it (webdav_parse.c, parse_lock).
func (m mac) open(path, holds string) (token string) {
	m.t.Helper()
	res := m.do("LOCK", path, macOSLock, "Depth: 0", "Timeout: Second-600", `Content-Type: text/xml; charset="utf-8"`).want(m.t, 200)
	_, rest, _ := strings.Cut(res.body, "<D:locktoken>")
	token, _, _ = strings.Cut(rest, "</D:href>")
	token = strings.TrimPrefix(token, "<D:href>")
	if !strings.HasPrefix(token, "urn:uuid:") || !strings.Contains(res.body, "<D:timeout>Second-600</D:timeout>") {
		m.t.Fatalf("the lock: %s", res.body)
	}
	if got := m.do("GET", path, "").want(m.t, 200).body; got != holds {
		m.t.Errorf("%s: opened, it holds %q, not %q", path, got, holds)
	}
	return token
}

// upload is what a file is sent with that is as long as announced.
func (m mac) upload(path, data, token string) response {
	m.t.Helper()
	headers := []string{macOSAgent, "Accept: */*", fmt.Sprintf("X-Expected-Entity-Length: %d", len(data))}
	if token != "" {
		headers = append(headers, "If: (<"+token+">)")
	}
	return m.testServer.do("PUT", path, struct{ io.Reader }{strings.NewReader(data)}, headers...)
}

// create is what becomes of a file that is copied to the server.
func (m mac) create(path, data string) {
	m.t.Helper()
	m.stat(path, -2)
	m.do("PUT", path, "").want(m.t, 201)
	m.stat(path, 0)
	token := m.open(path, "")
	m.upload(path, data, token).want(m.t, 204)
	m.stat(path, len(data))
	m.do("LOCK", path, "", "Depth: 0", "Timeout: Second-600", "Content-Type: text/xml", "If: (<"+token+">)").want(m.t, 200) // refreshed
	m.do("UNLOCK", path, "", "Lock-Token: <"+token+">").want(m.t, 204)
	m.stat(path, len(data))
}

// What Finder and a program that saves send to a folder that can be written to.
func TestMacOSSaves(t *testing.T) {
	root := t.TempDir()
	nfc, nfd := norm.NFC.String, norm.NFD.String
	s := mac{serve(t, newDir(t, root), false)}
	if got := s.do("OPTIONS", "/", "").want(t, 200).Header.Get("DAV"); got != "1, 2" {
		t.Fatalf("DAV: %s; macOS would mount it read-only", got)
	}
	s.stat("/", -1)
	holds := func(name, want string) {
		t.Helper()
		if got := read(t, root, name); got != want {
			t.Errorf("%s holds %q, not %q", name, got, want)
		}
	}

	// Finder copies a file, with what it keeps beside it.
	file, doc := esc(nfd("größer.txt")), nfd("größer.txt")
	s.create(file, "first")
	s.create(esc("._"+doc), "\x00\x05\x16\x07")
	s.create("/.DS_Store", "\x00\x00\x00\x01Bud1")
	if got, want := ls(t, root), strings.Join([]string{".DS_Store", "._" + doc, doc}, " "); got != want {
		t.Errorf("the folder holds %+q, not %+q", got, want)
	}
	holds(doc, "first")

	// A program saves in place; its PUT has a length of its own.
	token := s.open(file, "first")
	s.do("PUT", file, "second, longer", "If: (<"+token+">)").want(t, 204)
	s.do("UNLOCK", file, "", "Lock-Token: <"+token+">").want(t, 204)
	s.stat(file, len("second, longer"))
	holds(doc, "second, longer")

	// It saves into a folder beside it, and renames that over: without Overwrite, which is T
	// then (RFC 4918 10.6). The name that the file has here is in another form, and stays one.
	if err := os.Rename(filepath.Join(root, doc), filepath.Join(root, nfc(doc))); err != nil {
		t.Fatal(err)
	}
	folder := esc(doc + ".sb-1a2b3c4d-XyZ123")
	s.stat(folder, -2)
	s.do("MKCOL", folder+"/", "").want(t, 201)
	s.stat(folder, -1)
	s.create(folder+file, "third")
	s.stat(file, len("second, longer"))
	s.do("MOVE", folder+file, "", "Destination: "+s.URL+file).want(t, 204)
	s.stat(folder+file, -2)
	s.stat(file, len("third"))
	s.do("DELETE", folder+"/", "").want(t, 204)
	s.stat(folder, -2)
	holds(nfc(doc), "third")

	// Renamed and deleted while a program has it open: with its token (network_rename,
	// network_delete).
	token = s.open(file, "third")
	held := "If: (<" + token + ">)"
	s.do("MOVE", file, "", "Destination: "+s.URL+"/moved", held).want(t, 201)
	token = s.open("/moved", "third")
	s.do("PUT", file, "copy").want(t, 201)
	s.do("DELETE", "/moved", "", "If: (<"+token+">)").want(t, 204)
	s.do("PUT", file, "third").want(t, 204)

	// Renamed in Finder, with its companion; and then into the trash.
	other := esc("renamed 100%.txt")
	s.stat(other, -2)
	s.do("MOVE", file, "", "Destination: "+s.URL+other).want(t, 201)
	s.do("MOVE", esc("._"+doc), "", "Destination: "+s.URL+esc("._renamed 100%.txt")).want(t, 201)
	s.stat(file, -2)
	s.stat(other, len("third"))
	holds("renamed 100%.txt", "third")
	s.do("MKCOL", "/.Trashes/", "").want(t, 201)
	s.do("MKCOL", "/.Trashes/501/", "").want(t, 201)
	s.do("MOVE", other, "", "Destination: "+s.URL+"/.Trashes/501"+other).want(t, 201)
	s.do("DELETE", esc("._renamed 100%.txt"), "").want(t, 204)
	if got := ls(t, root); got != ".DS_Store .Trashes" {
		t.Errorf("left: %+q", got)
	}
	if got := read(t, root, ".Trashes/501/renamed 100%.txt"); got != "third" {
		t.Errorf("in the trash: %q", got)
	}
}

// What is refused, and why, as a program on a Mac gets to know it; the file stays.
func TestMacOSIsRefused(t *testing.T) {
	root := t.TempDir()
	f := &fakeFS{Dir: newDir(t, root)}
	s := mac{serve(t, f, false)}
	write(t, "old", root, "f")
	write(t, "other", root, "g")
	write(t, "x", root, "d", "x")
	ours := s.open("/f", "old")

	// Somebody else has it open: another Mac, whose token is not ours.
	for _, res := range []response{
		s.do("LOCK", "/f", macOSLock, "Depth: 0", "Timeout: Second-600"),
		s.do("PUT", "/f", ""),
		s.upload("/f", "new", ""),
		s.do("DELETE", "/f", ""),
		s.do("MOVE", "/f", "", "Destination: "+s.URL+"/h"),
		s.do("MOVE", "/g", "", "Destination: "+s.URL+"/f"),
	} {
		s.fails(res, 423, syscall.EBUSY)
	}
	for _, c := range []struct {
		res    response
		status int
		errno  syscall.Errno
	}{
		{s.do("PUT", "/none/f", ""), 409, syscall.ENOENT},
		{s.do("PUT", "/d", ""), 405, syscall.EPERM},
		{s.do("MKCOL", "/d/", ""), 405, syscall.EPERM},
		{s.do("MKCOL", "/none/d/", ""), 409, syscall.ENOENT},
		{s.do("GET", "/none", ""), 404, syscall.ENOENT},
		{s.do("DELETE", "/none", ""), 404, syscall.ENOENT},
		{s.do("MOVE", "/none", "", "Destination: "+s.URL+"/g"), 404, syscall.ENOENT},
		{s.do("MOVE", "/g", "", "Destination: "+s.URL+"/none/g"), 409, syscall.ENOENT},
		{s.do("MOVE", "/d", "", "Destination: "+s.URL+"/d/d"), 403, syscall.EPERM},
	} {
		s.fails(c.res, c.status, c.errno)
	}
	// The disk is full, with the lock; and then all of it fits again.
	f.set(faults{onWrite: func(u Upload) Upload { return &faultyUpload{Upload: u, onWrite: syscall.ENOSPC} }})
	s.fails(s.upload("/f", "new", ours), 507, syscall.ENOSPC)
	f.set(faults{})
	if got := read(t, root, "f") + read(t, root, "g"); got != "oldother" || ls(t, root) != "d f g" {
		t.Errorf("it was refused, and there is %q, in %s", got, ls(t, root))
	}
	s.upload("/f", "new", ours).want(t, 204)
	s.do("UNLOCK", "/f", "", "Lock-Token: <"+ours+">").want(t, 204)
	// The lock is gone, as after a night's sleep: what somebody else has saved meanwhile stays.
	s.do("PUT", "/f", "by somebody else").want(t, 204)
	s.fails(s.upload("/f", "of yesterday", ours), 412, syscall.EINVAL)
	if got := read(t, root, "f"); got != "by somebody else" {
		t.Errorf("there is %q", got)
	}
}
