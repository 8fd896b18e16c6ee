package webdav

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestUnsearchableFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may search every folder; TestUndescribableEntriesStayListed covers the answer")
	}
	root := t.TempDir()
	write(t, "x", root, "d", "f")
	os.Chmod(filepath.Join(root, "d"), 0o400)
	t.Cleanup(func() { os.Chmod(filepath.Join(root, "d"), 0o700) })
	infos, err := newDir(t, root).ReadDir(t.Context(), "d")
	if err != nil || len(infos) != 1 || infos[0].Name() != "f" {
		t.Errorf("got %v, %v", infos, err)
	}
}

// TestDirHides: neither listed nor there by name, and never opened.
func TestDirHides(t *testing.T) {
	top := t.TempDir()
	root := filepath.Join(top, "root")
	write(t, "secret", top, "outside", "f")
	write(t, "in", root, "d", "f")
	for link, target := range map[string]string{
		"abs": filepath.Join(top, "outside", "f"), "absdir": filepath.Join(top, "outside"), "abs-inside": filepath.Join(root, "d", "f"),
		"up": "../outside/f", "updir": "../outside", "up-and-back": "../root/d/f", "dangling": "nothing", "self": "self", "dot": ".", "d/loop": "..", "d/again": "../d",
		"proc": "/proc/self/environ", "through": "updir/f",
		"ok": "d/f", "okdir": "d", "ok2": "ok", "d/ok3": "../d/f",
	} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("fifo", filepath.Join(root, "to-fifo")); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(root, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	hidden := []string{"abs", "absdir", "abs-inside", "up", "updir", "up-and-back", "dangling", "self", "dot", "d/loop", "d/again", "proc", "through", "fifo", "to-fifo", "sock",
		"updir/f", "absdir/f", "fifo/x", ".fuseless-upload-" + strings.Repeat("0", 32)}
	write(t, "half", root, hidden[len(hidden)-1])
	if err := syscall.Mknod(filepath.Join(root, "null"), syscall.S_IFCHR|0o666, 1<<8|3); err == nil {
		hidden = append(hidden, "null")
	}

	d := newDir(t, root)
	var told []string
	d.OnHidden = func(folder string, n int) { told = append(told, fmt.Sprint(folder, " ", n)) }
	s := serve(t, d, false)
	for range 2 {
		if got := s.propfind("/", "1", "").hrefs(); got != "/ /d/ /ok /ok2 /okdir/" {
			t.Errorf("listed: %s", got)
		}
		if got := s.propfind("/d", "1", "").hrefs(); got != "/d/ /d/f /d/ok3" {
			t.Errorf("listed: %s", got)
		}
	}
	n := 0
	for _, h := range hidden {
		if !strings.Contains(h, "/") && !strings.HasPrefix(h, ".") {
			n++
		}
	}
	if got, want := strings.Join(told, ", "), fmt.Sprintf(". %d, d 2", n); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	for _, h := range hidden {
		for _, method := range []string{"GET", "HEAD", "PROPFIND", "DELETE"} {
			s.do(method, "/"+h, nil, "Depth: 0").want(t, 404)
		}
		if !strings.Contains(h, "/") {
			// What cannot be seen must not be overwritten either.
			s.do("PUT", "/"+h, strings.NewReader("new")).want(t, 403)
			s.do("MKCOL", "/"+h, nil).want(t, 403)
			s.do("MOVE", "/d/f", nil, "Destination: /"+h).want(t, 403)
		}
		if _, err := os.Lstat(filepath.Join(root, h)); err != nil && !strings.Contains(h, "/") {
			t.Error(err)
		}
	}
	for _, p := range []string{"ok", "ok2", "okdir/f", "d/ok3"} {
		if got := s.do("GET", "/"+p, nil).want(t, 200).body; got != "in" {
			t.Errorf("%s: %q", p, got)
		}
	}
	// A link is no place to write a file to; its target is.
	s.do("PUT", "/ok", strings.NewReader("new")).want(t, 403)
	if got := read(t, top, "outside", "f") + read(t, root, "d", "f"); got != "secretin" {
		t.Errorf("contents %q", got)
	}
}
