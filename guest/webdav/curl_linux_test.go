package webdav

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// curl is curl(1).
type curl struct{ *program }

func newCurl(t *testing.T, s *testServer) curl {
	c := curl{newProgram(t, s, "curl")}
	c.netrc()
	return c
}

// args are curl's arguments for name, but for what it shall do with it.
func (c curl) args(name string, more ...string) []string {
	return append([]string{"curl", "--silent", "--show-error", "--netrc-file", filepath.Join(c.home, ".netrc"), c.s.URL + esc(name)}, more...)
}

// status is what the server answers to that.
func (c curl) status(name string, more ...string) string {
	c.t.Helper()
	return c.run("", c.args(name, append(more, "--output", "/dev/null", "--write-out", "%{http_code}")...)...)
}

func (c curl) want(status, name string, more ...string) {
	c.t.Helper()
	if got := c.status(name, more...); got != status {
		c.t.Errorf("curl %q %q: %s, not %s", name, more, got, status)
	}
}

// done fails unless the server says that it is.
func (c curl) done(name string, more ...string) {
	c.t.Helper()
	if got := c.status(name, more...); !strings.HasPrefix(got, "2") {
		c.t.Fatalf("curl %q %q: %s", name, more, got)
	}
}

func (c curl) put(name, data string)  { c.done(name, "--upload-file", c.file(data)) }
func (c curl) get(name string) string { return c.run("", c.args(name, "--fail")...) }
func (c curl) mkdir(name string)      { c.done(name+"/", "--request", "MKCOL") }
func (c curl) remove(name string)     { c.done(name, "--request", "DELETE") }
func (c curl) removeAll(name string)  { c.remove(name) }
func (c curl) move(from, to string) {
	c.done(from, "--request", "MOVE", "--header", "Destination: "+c.s.URL+esc(to))
}

// header is one of a file's header fields.
func (c curl) header(name, field string) string {
	c.t.Helper()
	for line := range strings.Lines(c.run("", c.args(name, "--fail", "--head")...)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.EqualFold(k, field) {
			return v
		}
	}
	c.t.Fatalf("%s has no %s", name, field)
	return ""
}

func TestCurl(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	edit(t, root, newCurl(t, s))
}

// What curl sends under conditions, in part, or not to its end.
func TestCurlPut(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	c := newCurl(t, s)
	c.put("f", "first\n")
	is := func(what, want string) {
		t.Helper()
		if got := read(t, root, "f"); got != want || ls(t, root) != "f" {
			t.Errorf("after %s: %q, in %s", what, got, ls(t, root))
		}
	}
	upload := func(data string, more ...string) []string {
		return append([]string{"--upload-file", c.file(data)}, more...)
	}
	// curl -C sends what is missing of a file, with Content-Range (RFC 9110 14.5).
	c.want("400", "f", upload("first\nand more\n", "--continue-at", "6")...)
	is("a ranged PUT", "first\n")
	c.want("400", "new", upload("first\nand more\n", "--continue-at", "6")...)
	is("a ranged PUT of what is not there", "first\n")

	c.want("412", "f", upload("x", "--header", "If-None-Match: *")...)
	c.want("412", "f", upload("x", "--header", `If-Match: "another"`)...)
	c.want("412", "new", upload("x", "--header", "If-Match: *")...)
	is("conditions that do not hold", "first\n")
	seen := c.header("f", "ETag")
	c.want("204", "f", upload("second\n", "--header", "If-Match: "+seen)...)
	is("If-Match of what it is", "second\n")
	c.want("412", "f", upload("lost\n", "--header", "If-Match: "+seen)...)
	is("If-Match of what it was", "second\n")
	c.want("412", "f", "--request", "DELETE", "--header", "If-Match: "+seen)
	is("DELETE of what it was", "second\n")

	// Broken off: one that is killed, and one that gives up, which says so.
	file := c.file(strings.Repeat("new\n", 1<<20))
	argv := c.args("f", "--upload-file", file, "--limit-rate", "64k")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = c.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	uploads := func() int {
		names, err := filepath.Glob(filepath.Join(root, temporaryPrefix+"*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	await := func(what string, n int) {
		t.Helper()
		if !eventually(func() bool { return uploads() == n }) {
			t.Fatalf("%s: there are %d uploads", what, uploads())
		}
	}
	await("PUT", 1)
	if got := c.get("f"); got != "second\n" {
		t.Errorf("during a PUT: %q", got)
	}
	cmd.Process.Signal(os.Kill)
	cmd.Wait()
	await("killed", 0)
	is("a PUT whose client was killed", "second\n")
	if _, stderr, err := c.try("", c.args("f", "--upload-file", file, "--limit-rate", "64k", "--max-time", "0.5")...); err == nil || !strings.Contains(stderr, "(28)") {
		t.Errorf("it did not give up: %v, %s", err, stderr)
	}
	await("given up", 0)
	is("a PUT whose client gave up", "second\n")
}
