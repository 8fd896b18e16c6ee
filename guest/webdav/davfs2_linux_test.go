package webdav

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/proto"
	"fuseless/magefiles/hostmount"
	"fuseless/magefiles/privilege"
)

// davfs2 is the server's folder, mounted as hostMount mounts it.
type davfs2 struct {
	t    *testing.T
	spec hostmount.Spec
	dir  string
}

// newDavfs2 mounts s read-write. The end of the test unmounts it, and fails if a file
// did not reach the server: davfs2 says so nowhere else.
func newDavfs2(t *testing.T, s *testServer) davfs2 {
	t.Helper()
	if _, err := privilege.LookPath("mount.davfs"); err != nil {
		t.Skip("davfs2 is not installed; `go tool mage test` installs it")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no FUSE:", err)
	}
	if err := privilege.Check(t.Context()); err != nil {
		t.Skip("davfs2 needs root, or sudo without a password:", err)
	}
	run, err := os.MkdirTemp("/dev/shm", "webdav-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	d := davfs2{t, hostmount.Spec{Vault: "test", URL: s.URL + "/", User: testUser, Password: []byte(testPassword),
		Mountpoint: filepath.Join(t.TempDir(), "mount"), RuntimeDir: run}, ""}
	d.dir = d.spec.Mountpoint
	t.Cleanup(func() {
		if warning := d.unmount(); warning != "" {
			t.Errorf("unmounting: %s\n%s", warning, s.log)
		}
	})
	if warning, err := hostmount.Mount(t.Context(), d.spec); err != nil || warning != "" {
		t.Fatalf("mounting: %v %s\n%s", err, warning, s.log)
	}
	return d
}

// unmount unmounts, if it is mounted, and returns what has to be said of files that did
// not reach the server.
func (d davfs2) unmount() (warning string) {
	d.t.Helper()
	ctx := context.WithoutCancel(d.t.Context()) // which has ended when a test has
	warning, err := hostmount.Unmount(ctx, d.spec)
	switch {
	case proto.CodeOf(err) == proto.Incomplete:
		return warning + err.Error()
	case err != nil:
		d.t.Errorf("unmounting: %v", err)
		d.spec.Force = true
		_, _ = hostmount.Unmount(ctx, d.spec)
	}
	return warning
}

// lose unmounts, and returns the contents of the files that are kept because they did not
// reach the server, by name. It removes them.
func (d davfs2) lose() map[string]string {
	d.t.Helper()
	lost := map[string]string{}
	for file := range strings.FieldsSeq(d.unmount()) {
		kept, name, ok := strings.Cut(file, "/lost+found/")
		if ok && strings.Contains(kept, "/fuseless-davfs2-") {
			lost[name] = read(d.t, file)
			if err := os.RemoveAll(kept); err != nil {
				d.t.Error(err)
			}
		}
	}
	return lost
}

func (d davfs2) at(name string) string { return filepath.Join(d.dir, name) }

func (d davfs2) done(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d davfs2) put(name, data string)  { d.done(os.WriteFile(d.at(name), []byte(data), 0o644)) }
func (d davfs2) get(name string) string { return read(d.t, d.at(name)) }
func (d davfs2) mkdir(name string)      { d.done(os.Mkdir(d.at(name), 0o755)) }
func (d davfs2) move(from, to string)   { d.done(os.Rename(d.at(from), d.at(to))) }
func (d davfs2) remove(name string)     { d.done(os.Remove(d.at(name))) }
func (d davfs2) removeAll(name string)  { d.done(os.RemoveAll(d.at(name))) }

func TestDavfs2(t *testing.T) {
	t.Parallel()
	s, root := serveDir(t, false)
	edit(t, root, newDavfs2(t, s))
}
