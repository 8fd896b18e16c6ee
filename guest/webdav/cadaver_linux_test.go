package webdav

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cadaver is cadaver(1), which speaks WebDAV through neon, as davfs2 does.
type cadaver struct{ *program }

func newCadaver(t *testing.T, s *testServer) cadaver {
	c := cadaver{newProgram(t, s, "cadaver")}
	c.netrc()
	return c
}

// session gives it commands, and returns what it says.
func (c cadaver) session(commands ...string) string {
	c.t.Helper()
	return c.run(strings.Join(commands, "\n")+"\nquit\n", "cadaver", c.s.URL+"/")
}

// do gives it one command. Names are quoted as its manual says: in double quotes, and
// with a backslash before what counts there.
func (c cadaver) do(command string, args ...string) string {
	c.t.Helper()
	for _, a := range args {
		command += ` "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(a) + `"`
	}
	out := c.session(command)
	// It ends with 0 whatever happened.
	if !strings.Contains(out, "succeeded") && !strings.HasPrefix(command, "get") {
		c.t.Fatalf("cadaver: %s: %s", command, out)
	}
	return out
}

func (c cadaver) put(name, data string) { c.do("put", c.file(data), name) }
func (c cadaver) get(name string) string {
	file := filepath.Join(c.home, "got")
	defer os.Remove(file)
	c.do("get", name, file)
	return read(c.t, file)
}
func (c cadaver) mkdir(name string)     { c.do("mkcol", name) }
func (c cadaver) move(from, to string)  { c.do("move", from, to) }
func (c cadaver) remove(name string)    { c.do("delete", name) }
func (c cadaver) removeAll(name string) { c.do("rmcol", name) }

func TestCadaver(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	edit(t, root, newCadaver(t, s))
}
