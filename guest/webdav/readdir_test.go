package webdav

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a listing says of each entry is what lstat(2) says of it, however many there are,
// and the order is that of the names.
func TestReadDirDescribesEach(t *testing.T) {
	root := t.TempDir()
	for i := range 1000 {
		name := filepath.Join(root, fmt.Sprintf("%03d", (i*7)%1000))
		if err := os.WriteFile(name, make([]byte, i), 0o600|fs.FileMode(i)&0o77); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(i)*1e6, int64(i))
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "folder"), 0o711); err != nil {
		t.Fatal(err)
	}
	infos, err := newDir(t, root).ReadDir(t.Context(), ".")
	if err != nil || len(infos) != 1001 {
		t.Fatalf("%d entries, %v", len(infos), err)
	}
	for i, fi := range infos {
		want, err := os.Lstat(filepath.Join(root, fi.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Size() != want.Size() || fi.Mode() != want.Mode() || !fi.ModTime().Equal(want.ModTime()) || fi.IsDir() != want.IsDir() {
			t.Errorf("%s: %v and not %v", fi.Name(), fs.FormatFileInfo(fi), fs.FormatFileInfo(want))
		}
		if i > 0 && infos[i-1].Name() >= fi.Name() {
			t.Errorf("%s before %s", infos[i-1].Name(), fi.Name())
		}
	}
}

// The types are those that package os sees.
func TestFileMode(t *testing.T) {
	root := t.TempDir()
	for name, make := range map[string]func(string) error{
		"fifo": func(p string) error { return syscall.Mkfifo(p, 0o640) },
		"link": func(p string) error { return os.Symlink("nowhere", p) },
		"socket": func(p string) error {
			l, err := net.Listen("unix", p)
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		},
	} {
		if err := make(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{root, filepath.Join(root, "fifo"), filepath.Join(root, "link"), filepath.Join(root, "socket"), "/dev/null", os.Args[0]} {
		fi, err := os.Lstat(p)
		if err != nil {
			t.Fatal(err)
		}
		st := fi.Sys().(*syscall.Stat_t)
		if got, want := fileMode(uint32(st.Mode)), fi.Mode()&(fs.ModeType|fs.ModePerm); got != want {
			t.Errorf("%s: %v and not %v", p, got, want)
		}
	}
}

// Names are taken from who has them faster, but a listing lacks nothing for that.
func TestNamesFromElsewhere(t *testing.T) {
	root := t.TempDir()
	write(t, "1", root, "one")
	write(t, "2", root, "two")
	write(t, "3", root, "three")
	for what, c := range map[string]struct {
		names []string
		ok    bool
		want  string
	}{
		"as they are":              {[]string{"two", "one", "three"}, true, "[one three two]"},
		"are believed":             {[]string{"two", "one"}, true, "[one two]"},
		"one that is not there":    {[]string{"two", "gone"}, true, "[one three two]"},
		"of another folder":        {[]string{"gone", "gone too"}, true, "[one three two]"},
		"not known":                {[]string{"one"}, false, "[one three two]"},
		"of a folder without any":  {nil, true, "[]"},
		"one that cannot be there": {[]string{"one", strings.Repeat("x", 5000)}, true, "error"},
	} {
		d := newDir(t, root)
		d.Names = func(folder string) ([]string, bool) {
			if folder != "." {
				t.Errorf("asked for %q", folder)
			}
			return c.names, c.ok
		}
		infos, err := d.ReadDir(t.Context(), ".")
		got := []string{}
		for _, fi := range infos {
			got = append(got, fi.Name())
		}
		if s := fmt.Sprint(got); s != c.want && (c.want != "error" || err == nil) {
			t.Errorf("%s: %s, %v", what, s, err)
		}
	}
}
