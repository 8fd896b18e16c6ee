package webdav

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"
)

// client is a program that people edit with, at work on a server's root. Names are
// relative to that, with slashes. What fails ends the test.
type client interface {
	put(name, data string) // a file, new or over an existing one
	get(name string) string
	mkdir(name string)
	move(from, to string) // a file or a folder; over a file that exists
	remove(name string)   // a file
	removeAll(name string)
}

// clientNames are what a file, and a folder, are called: each has something that a client
// must escape in a URL, or that another form exists of.
var clientNames = []string{
	"plain.txt",
	"two  spaces.txt",
	"100% of 50%25 #1 & a=b+c;d.txt",
	norm.NFC.String("größer, Ärger.txt"),
	norm.NFD.String("Öl für Übermut.txt"),
	"日本 😀 'quoted' (1) [x] {y} ~z.txt",
}

// edit does with c what people do with files, and fails where the served folder does not
// hold exactly that, after each step.
func edit(t *testing.T, root string, c client) {
	want := tree{}
	check := func(what string) {
		t.Helper()
		if _, late := c.(davfs2); late {
			becomes(t, what, root, want)
		} else if got := treeIn(t, root); !maps.Equal(got, want) {
			t.Fatalf("after %s the folder holds\n%s, not\n%s", what, got.tell(), want.tell())
		}
	}
	put := func(name, data string) {
		t.Helper()
		c.put(name, data)
		want[name] = data
		check(fmt.Sprintf("putting %q, %d bytes", name, len(data)))
	}
	move := func(from, to string) {
		t.Helper()
		c.move(from, to)
		want = want.after("MOVE", from, to)
		check(fmt.Sprintf("moving %q to %q", from, to))
	}
	// Larger than any of the buffers in between, and then shorter: no rest may stay.
	large := strings.Repeat("0123456789abcde\n", 40<<10)
	for _, name := range clientNames {
		put(name, "one\n")
		if name == clientNames[0] {
			put(name, large)
			if got := c.get(name); got != large {
				t.Errorf("read %d bytes of %d", len(got), len(large))
			}
		}
		put(name, "2\n")
		if got := c.get(name); got != "2\n" {
			t.Errorf("%q: read %q", name, got)
		}
	}
	put("empty", "")
	for i, name := range clientNames {
		folder := "in " + strings.TrimSuffix(name, ".txt")
		c.mkdir(folder)
		want[folder] = "/"
		check(fmt.Sprintf("making the folder %q", folder))
		inside := path.Join(folder, name)
		put(inside, "inside\n")
		move(name, path.Join(folder, "moved "+name))
		put(name, "saved\n")
		move(name, inside) // over what is there
		if got := c.get(inside); got != "saved\n" {
			t.Errorf("%q: read %q after it was replaced", inside, got)
		}
		moved := fmt.Sprintf("%s, the %d. time", folder, i)
		move(folder, moved)
		if got := c.get(path.Join(moved, name)); got != "saved\n" {
			t.Errorf("%q: read %q after its folder was moved", name, got)
		}
		c.remove(path.Join(moved, name))
		delete(want, path.Join(moved, name))
		check(fmt.Sprintf("deleting %q", path.Join(moved, name)))
		if i%2 == 0 {
			c.removeAll(moved)
			delete(want, moved)
			delete(want, path.Join(moved, "moved "+name))
			check(fmt.Sprintf("deleting the folder %q", moved))
		}
	}
}

// becomes waits until the folder holds exactly want, and fails if it never does. davfs2 uploads a file some time
// after close(2) has returned, also without a delay.
func becomes(t *testing.T, what, root string, want tree) {
	t.Helper()
	var now tree
	if !eventually(func() bool {
		now = tree{}
		_ = fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
			if err != nil || name == "." {
				return nil // it may have gone meanwhile
			}
			if now[name] = "/"; !e.IsDir() {
				b, _ := os.ReadFile(filepath.Join(root, name))
				now[name] = string(b)
			}
			return nil
		})
		return maps.Equal(now, want)
	}) {
		t.Fatalf("after %s the folder holds\n%s, not\n%s", what, now.tell(), want.tell())
	}
}

// eventually waits until is holds, and says whether it ever did.
func eventually(is func() bool) bool {
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// tell is what x holds, for a message.
func (x tree) tell() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(x)) {
		fmt.Fprintf(&b, "\t%+q: %d bytes, %.20q\n", name, len(x[name]), x[name])
	}
	return b.String()
}

// program is a client that is a command, or several. Its home is a folder of its own.
type program struct {
	t    *testing.T
	s    *testServer
	home string
	env  []string
	wrap []string // comes before every command
}

// newProgram skips where one of the commands is missing.
func newProgram(t *testing.T, s *testServer, commands ...string) *program {
	t.Helper()
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			t.Skipf("%s is not installed; `go tool mage test` installs it", c)
		}
	}
	p := &program{t: t, s: s, home: t.TempDir()}
	p.env = append(os.Environ(), "HOME="+p.home, "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=", "LC_ALL=C.UTF-8", "http_proxy=", "all_proxy=", "no_proxy=*")
	return p
}

// file is a new file in the client's home, which it may send.
func (p *program) file(data string) string {
	p.t.Helper()
	f, err := os.CreateTemp(p.home, "local-")
	if err == nil {
		_, err = f.WriteString(data)
	}
	if err = cmp.Or(err, f.Close()); err != nil {
		p.t.Fatal(err)
	}
	return f.Name()
}

// try runs a command with input as its standard input, and returns what it wrote to its
// standard output and error.
func (p *program) try(input string, argv ...string) (stdout, stderr string, err error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	argv = append(p.wrap[:len(p.wrap):len(p.wrap)], argv...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdin = p.env, p.home, strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// run is try with a command that must succeed.
func (p *program) run(input string, argv ...string) string {
	p.t.Helper()
	stdout, stderr, err := p.try(input, argv...)
	if err != nil {
		p.t.Fatalf("%q: %v\n%s%s\nthe server: %s", argv, err, stdout, stderr, p.s.log)
	}
	return stdout
}

// netrc is netrc(5) with the server's password, so that it is in no argv.
func (p *program) netrc() string {
	p.t.Helper()
	file := filepath.Join(p.home, ".netrc")
	line := fmt.Sprintf("machine 127.0.0.1 login %s password %q\n", testUser, testPassword)
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return file
}
