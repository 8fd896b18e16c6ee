package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"fuseless/guest/webdav/challenge"
)

func TestEveryRequestNeedsCredentials(t *testing.T) {
	s, root := serveDir(t, false)
	write(t, "data", root, "f")
	for _, method := range []string{"OPTIONS", "GET", "HEAD", "PROPFIND", "PUT", "DELETE", "MKCOL", "MOVE", "COPY", "LOCK", "UNLOCK", "PROPPATCH", "POST", "BREW"} {
		for name, set := range map[string]func(*http.Request){
			"none":           func(*http.Request) {},
			"wrong password": func(r *http.Request) { r.SetBasicAuth(testUser, "correct horse") },
			"wrong user":     func(r *http.Request) { r.SetBasicAuth("User", testPassword) },
			"empty":          func(r *http.Request) { r.SetBasicAuth("", "") },
			"bearer":         func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
		} {
			req, _ := http.NewRequest(method, s.URL+"/f", nil)
			set(req)
			res := s.send(req, "Depth: 0", "Destination: /g").want(t, http.StatusUnauthorized)
			if !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%s with %s: no WWW-Authenticate", method, name)
			}
			if strings.Contains(res.body, "data") {
				t.Errorf("%s with %s: the contents came", method, name)
			}
		}
	}
	if ls(t, root) != "f" {
		t.Errorf("the folder holds %s", ls(t, root))
	}
	s.do("GET", "/f", nil).want(t, 200)
}

func TestHostAndOrigin(t *testing.T) {
	s, root := serveDir(t, true)
	write(t, "data", root, "f")
	_, port, _ := net.SplitHostPort(s.addr)
	for host, status := range map[string]int{
		"localhost": 200, "localhost:" + port: 200, "LOCALHOST:1": 200, "127.0.0.1": 200, "127.0.0.1:9": 200, "[::1]": 200, "[::1]:80": 200,
		"evil.example": 403, "evil.example:" + port: 403, "localhost.evil.example": 403, "127.0.0.1.evil.example": 403,
		"127.0.0.2": 403, "[::2]": 403, "localhost:x": 403, "127.0.0.1.": 403,
	} {
		if res := s.do("GET", "/f", nil, "Host: "+host); res.StatusCode != status {
			t.Errorf("host %s: status %d, want %d", host, res.StatusCode, status)
		}
	}
	for origin, status := range map[string]int{
		s.URL: 200, "http://evil.example": 403, "null": 403, "http://127.0.0.1:1": 403, "https://" + s.addr: 403, "http://localhost:" + port: 403,
	} {
		if res := s.do("GET", "/f", nil, "Origin: "+origin); res.StatusCode != status {
			t.Errorf("origin %s: status %d, want %d", origin, res.StatusCode, status)
		}
	}
	// Before the challenge and the credentials are looked at.
	req, _ := http.NewRequest("GET", s.URL+challenge.Path+"?nonce="+strings.Repeat("00", 32), nil)
	s.send(req, "Host: evil.example").want(t, 403)
}

func TestPathsCannotEscape(t *testing.T) {
	s, root := serveDir(t, false)
	inside := root + "/inside"
	write(t, "secret", root, "secret")
	write(t, "data", inside, "sub", "f")
	write(t, "data", inside, `back\slash`)
	s = serve(t, newDir(t, inside), false)
	auth := "Authorization: Basic " + basic() + "\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	for _, target := range []string{
		"/../secret", "/sub/../../secret", "/%2e%2e/secret", "/..%2fsecret", "/%2e%2e%2fsecret", "/sub/..%2f..%2fsecret",
		"/..%5csecret", `/..\secret`, "/%252e%252e/secret", "/..%c0%afsecret", "/%00/../secret", "/../secret%00", "//../secret", "/./../secret",
		"http://localhost/../secret", "http://localhost/%2e%2e/secret", root + "/secret",
	} {
		for _, method := range []string{"GET", "PROPFIND", "DELETE"} {
			got := s.raw(method + " " + target + " HTTP/1.1\r\nDepth: 0\r\n" + auth)
			if !strings.HasPrefix(got, "HTTP/1.1 404") && !strings.HasPrefix(got, "HTTP/1.1 400") || strings.Contains(got, "\nsecret") {
				t.Errorf("%s %s: %.60q", method, target, got)
			}
		}
	}
	for _, dst := range []string{"/../stolen", "/%2e%2e/stolen", "/..%2fstolen"} {
		s.do("COPY", "/sub/f", nil, "Destination: "+dst)
	}
	if got := ls(t, root); got != "inside secret" {
		t.Errorf("outside the root there is %s", got)
	}
	s.do("GET", "/sub%2ff", nil).want(t, 200)
	s.do("GET", "/back%5Cslash", nil).want(t, 200)
	s.do("GET", "/f%00", nil).want(t, 400)
	s.do("DELETE", "/sub%2f..", nil).want(t, 403)
}

func basic() string {
	r, _ := http.NewRequest("GET", "/", nil)
	r.SetBasicAuth(testUser, testPassword)
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
}

func TestXMLLimits(t *testing.T) {
	s, _ := serveDir(t, false)
	nested := func(n int) string {
		return `<propfind xmlns="DAV:"><prop>` + strings.Repeat("<a>", n) + strings.Repeat("</a>", n) + "</prop></propfind>"
	}
	for _, method := range []string{"PROPFIND", "PROPPATCH", "LOCK"} {
		s.do(method, "/", strings.NewReader(nested(1000)), "Depth: 0").want(t, 400)
		s.do(method, "/", strings.NewReader(`<!DOCTYPE a [<!ENTITY b "c">]><propfind xmlns="DAV:"><allprop/></propfind>`), "Depth: 0").want(t, 400)
		s.do(method, "/", strings.NewReader(strings.Repeat(" ", xmlMax+1)), "Depth: 0").want(t, 413)
		s.do(method, "/", struct{ io.Reader }{strings.NewReader(strings.Repeat("<a>", xmlMax))}, "Depth: 0").want(t, 413)
	}
	s.do("PROPFIND", "/", strings.NewReader(nested(20)), "Depth: 0").want(t, 207)
	var many strings.Builder
	for i := range propertiesMax + 1 {
		fmt.Fprintf(&many, "<p%d/>", i)
	}
	s.do("PROPFIND", "/", strings.NewReader(`<propfind xmlns="DAV:"><prop>`+many.String()+"</prop></propfind>"), "Depth: 0").want(t, 400)
}

func TestConnectionsBeyondTheCapAreClosed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	capped := &cappedListener{Listener: ln, max: 2}
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := capped.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	defer dial().Close()
	defer dial().Close()
	first := <-accepted
	<-accepted
	third := dial()
	defer third.Close()
	if _, err := third.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the third connection was not closed")
	}
	first.Close()
	first.Close() // as net/http may; it must count once
	defer dial().Close()
	select {
	case <-accepted:
	case <-time.After(10 * time.Second):
		t.Error("a closed connection did not make room")
	}
	fifth := dial()
	defer fifth.Close()
	if _, err := fifth.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a connection closed twice made room twice")
	}
}

func TestPanicAbortsTheRequestOnly(t *testing.T) {
	f := &fakeFS{Dir: newDir(t, t.TempDir()), faults: faults{onStat: func(name string) error {
		if name == "boom" {
			panic("boom")
		}
		return nil
	}}}
	s := serve(t, f, true)
	got := s.raw("GET /boom HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic " + basic() + "\r\n\r\n")
	if got != "" {
		t.Errorf("got %q", got)
	}
	s.do("PROPFIND", "/", nil, "Depth: 0").want(t, 207)
	if !strings.Contains(s.log.String(), "panic: boom") {
		t.Errorf("the log does not tell: %s", s.log)
	}
	if strings.Contains(s.log.String(), testPassword) || strings.Contains(s.log.String(), basic()) {
		t.Error("the log tells the password")
	}
}

func TestChallenge(t *testing.T) {
	s, root := serveDir(t, false)
	write(t, "mine", root, ".fuseless", "challenge")
	ctx := context.Background()
	if err := challenge.Verify(ctx, s.URL, testUser, testPassword); err != nil {
		t.Error(err)
	}
	if err := challenge.Verify(ctx, s.URL, testUser, "another"); err == nil {
		t.Error("a server with another password was taken for ours")
	}
	anyone := func(method, path string) response {
		req, _ := http.NewRequest(method, s.URL+path, nil)
		return s.send(req)
	}
	anyone("GET", challenge.Path+"?nonce=00").want(t, 400)
	for _, p := range []string{challenge.Path, challenge.Path + "/?nonce=00", "/.fuseless/x?nonce=00", "/?nonce=00"} {
		anyone("GET", p).want(t, 401)
	}
	anyone("PUT", challenge.Path+"?nonce=00").want(t, 401)
	// It does not shadow the person's own files.
	if got := s.do("GET", challenge.Path, nil).want(t, 200).body; got != "mine" {
		t.Errorf("got %q", got)
	}
}

func TestReadOnlyNeedsNoWriteFS(t *testing.T) {
	var readHalf struct{ FS }
	readHalf.FS = newDir(t, t.TempDir())
	if _, err := New(readHalf, Options{User: "u", Password: "p"}); err == nil {
		t.Error("a file system without a writing half was taken for read-write")
	}
	if _, err := New(readHalf, Options{User: "u", Password: "p", ReadOnly: true}); err != nil {
		t.Error(err)
	}
	for _, o := range []Options{{ReadOnly: true}, {User: "u", ReadOnly: true}, {Password: "p", ReadOnly: true}} {
		if _, err := New(readHalf, o); err == nil {
			t.Errorf("%+v: served without credentials", o)
		}
	}
}
