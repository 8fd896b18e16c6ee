package webdav

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// gvfs is what GNOME's file manager opens dav:// with.
type gvfs struct {
	*program
	url string
}

// newGVFS mounts the server in a session bus of its own, which ends with the test, and
// with it whatever was started on it.
func newGVFS(t *testing.T, s *testServer) gvfs {
	t.Helper()
	p := newProgram(t, s, "gio", "dbus-run-session")
	if _, err := os.Stat("/usr/libexec/gvfsd-dav"); err != nil {
		t.Skip("gvfs-backends is not installed; `go tool mage test` installs it")
	}
	// No FUSE: it would be a mount that the test has to care for.
	p.env = append(p.env, "XDG_RUNTIME_DIR="+t.TempDir(), "XDG_DATA_HOME="+t.TempDir(), "GVFS_DISABLE_FUSE=1", "DISPLAY=", "WAYLAND_DISPLAY=")
	bus := exec.Command("dbus-run-session", "--", "sh", "-c", `printf '%s\n' "$DBUS_SESSION_BUS_ADDRESS"; exec cat`)
	bus.Env, bus.Dir = p.env, p.home
	hold, err := bus.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := bus.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	bus.Stderr = &log
	if err := bus.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hold.Close()
		if err := bus.Wait(); err != nil {
			t.Errorf("dbus-run-session: %v\n%s", err, &log)
		}
	})
	address, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatalf("no session bus: %v\n%s", err, &log)
	}
	p.env = append(p.env, "DBUS_SESSION_BUS_ADDRESS="+strings.TrimSpace(address))
	g := gvfs{p, "dav://" + testUser + "@" + s.addr}
	g.gio(testPassword+"\n", "mount", g.url+"/")
	t.Cleanup(func() { g.try("", "gio", "mount", "--unmount", g.url+"/") })
	return g
}

func (g gvfs) gio(input string, args ...string) string {
	g.t.Helper()
	return g.run(input, append([]string{"gio"}, args...)...)
}

func (g gvfs) at(name string) string { return g.url + esc(name) }

func (g gvfs) put(name, data string)  { g.gio(data, "save", g.at(name)) }
func (g gvfs) get(name string) string { return g.gio("", "cat", g.at(name)) }
func (g gvfs) mkdir(name string)      { g.gio("", "mkdir", g.at(name)) }
func (g gvfs) remove(name string)     { g.gio("", "remove", g.at(name)) }

// move is MOVE, and not what gio would do in its place.
func (g gvfs) move(from, to string) {
	g.gio("", "move", "--no-target-directory", "--no-copy-fallback", g.at(from), g.at(to))
}

// removeAll is what a file manager does: from the leaves.
func (g gvfs) removeAll(name string) {
	for line := range strings.Lines(g.gio("", "list", "--attributes=standard::name", "--print-uris", g.at(name))) {
		uri, _, _ := strings.Cut(line, "\t")
		g.gio("", "remove", strings.TrimSpace(uri))
	}
	g.remove(name)
}

func TestGVFS(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	edit(t, root, newGVFS(t, s))
}
