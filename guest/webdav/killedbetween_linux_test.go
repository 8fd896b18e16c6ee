package webdav

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKilledBetweenSystemCalls kills the real server (SIGKILL) after each change of the folder
// that a request makes, and at any moment, and starts it again: then all is as before the
// request, or as after it, and the latter if it was answered. strace makes calls last long enough for
// a kill to come between two of them.
func TestKilledBetweenSystemCalls(t *testing.T) {
	program := buildGuest(t)
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	anyMoment := 4
	if testing.Short() {
		anyMoment = 1
	}
	before := tree{"tree": "/", "tree/sub": "/", "tree/sub/sub": "/", "tree/empty": "/", "old": "/", "old/sub": "/", "old/sub/f": "old",
		"file": "the file", "other": "the other"}
	for i := range 4 {
		before[fmt.Sprintf("tree/%d", i)] = strings.Repeat(fmt.Sprint("new ", i), 1000*i)
		before[fmt.Sprintf("tree/sub/sub/%d", i)] = fmt.Sprint("new below ", i)
		before[fmt.Sprintf("old/%d", i)] = strings.Repeat(fmt.Sprint("old ", i), 1000*i)
	}
	kills, between, left, beside := 0, 0, 0, 0
	for _, c := range []struct{ method, src, dst string }{
		{"PUT", "file", ""}, {"PUT", "new", ""},
		{"COPY", "tree", "old"}, {"COPY", "tree", "file"}, {"COPY", "tree", "new"}, {"COPY", "file", "old"}, {"COPY", "file", "other"},
		{"MOVE", "tree", "old"}, {"MOVE", "tree", "file"}, {"MOVE", "tree", "new"}, {"MOVE", "file", "old"}, {"MOVE", "file", "other"},
		{"MOVE", "tree/sub", "old"}, {"MOVE", "tree", "old/sub"},
	} {
		t.Run(strings.TrimSpace(c.method+" "+c.src+" "+c.dst), func(t *testing.T) {
			after := before.after(c.method, c.src, c.dst)
			try := func(kill func(root string, p *process, began <-chan struct{}) (stop func())) (answered bool, took time.Duration) {
				root := t.TempDir()
				before.write(t, root)
				p := straced(t, program, root, filepath.Join(t.TempDir(), "strace"), "-e", "inject=renameat:delay_exit=20000",
					"-e", "inject=unlinkat,mkdirat,fsync:delay_exit=500") // µs
				began := make(chan struct{})
				stop := kill(root, p, began)
				req, err := http.NewRequest(c.method, p.URL+"/"+c.src, strings.NewReader(putByTest))
				if err != nil {
					t.Fatal(err)
				}
				req.SetBasicAuth(testUser, testPassword)
				if c.method != "PUT" {
					req.Header.Set("Destination", p.URL+"/"+c.dst)
				}
				start := time.Now()
				close(began)
				res, err := http.DefaultTransport.RoundTrip(req)
				took = time.Since(start)
				if answered = err == nil; answered {
					res.Body.Close()
					if res.StatusCode != 201 && res.StatusCode != 204 {
						t.Errorf("status %d", res.StatusCode)
					}
				}
				stop()
				p.cmd.Process.Kill()
				p.cmd.Wait()
				kills++
				found := treeIn(t, root)
				if found.hidden() {
					left++
				}
				if _, ok := found[c.dst]; !ok && c.dst != "new" && c.dst != "" {
					between++
				}
				again := launch(t, nil, program, root)
				waitSwept(t, root)
				now := treeIn(t, root)
				if shown := now.without(" (replaced "); !answered && len(shown) < len(now) && maps.Equal(shown, after) {
					// The next server does not know whether the new one is all of it; nothing is lost so.
					if old := now.below(c.dst + " (replaced "); !maps.Equal(old, before.below(c.dst)) {
						t.Errorf("what was replaced has become %q", slices.Collect(maps.Keys(old)))
					}
					now, beside = after, beside+1
				}
				again.end()
				switch {
				case maps.Equal(now, after):
				case !maps.Equal(now, before):
					t.Errorf("it is neither as before nor as after, but differs by %q and %q; the kill had left %q", now.differs(before), now.differs(after), found.differs(before))
				case answered:
					t.Error("it was answered, and has not happened")
				}
				return answered, took
			}
			var took time.Duration
			for n := 1; !t.Failed(); n++ {
				var answered bool
				answered, took = try(func(root string, p *process, _ <-chan struct{}) func() { return killAfterChange(t, root, n, p) })
				if answered {
					break
				}
			}
			for range anyMoment {
				try(func(_ string, p *process, began <-chan struct{}) func() {
					timer := make(chan *time.Timer, 1)
					wait := time.Duration(r.Float64() * float64(took))
					go func() {
						<-began
						timer <- time.AfterFunc(wait, func() { p.cmd.Process.Kill() })
					}()
					return func() { (<-timer).Stop() }
				})
			}
		})
	}
	t.Logf("%d kills, %d of them while nothing was at the destination, %d with something left; %d times the old one is beside the new one",
		kills, between, left, beside)
	if between == 0 || left == 0 {
		t.Error("that is not enough to show anything")
	}
}

const putByTest = "what is put"

// killAfterChange kills p after the nth change of the entries of root (inotify(7)), unless it is stopped
// before that.
func killAfterChange(t *testing.T, root string, n int, p *process) (stop func()) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.InotifyAddWatch(fd, root, unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1<<16)
		for seen := 0; ; {
			got, err := events.Read(buf)
			if err != nil {
				return
			}
			for b := buf[:got]; len(b) > 0; seen++ {
				b = b[unix.SizeofInotifyEvent+binary.NativeEndian.Uint32(b[12:]):]
			}
			if seen >= n {
				p.cmd.Process.Kill()
				return
			}
		}
	}()
	return func() {
		events.Close()
		<-ended
	}
}

// tree is what is in a folder: contents by name, "/" for a folder.
type tree map[string]string

func treeIn(t *testing.T, root string) tree {
	t.Helper()
	found := tree{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case e.IsDir():
			found[name] = "/"
		default:
			found[name] = read(t, root, name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

func (x tree) write(t *testing.T, root string) {
	t.Helper()
	for name, data := range x {
		if data != "/" {
			write(t, data, root, name)
		} else if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// after is what x becomes by a request.
func (x tree) after(method, src, dst string) tree {
	y := maps.Clone(x)
	if method == "PUT" {
		y[src] = putByTest
		return y
	}
	maps.DeleteFunc(y, func(name, _ string) bool { return within(name, dst) || method == "MOVE" && within(name, src) })
	for name, data := range x {
		if within(name, src) {
			y[dst+strings.TrimPrefix(name, src)] = data
		}
	}
	return y
}

// without is x without what has mark in its name.
func (x tree) without(mark string) tree {
	y := maps.Clone(x)
	maps.DeleteFunc(y, func(name, _ string) bool { return strings.Contains(name, mark) })
	return y
}

// below is what is in the one entry that begins with prefix, and the entry itself as "".
func (x tree) below(prefix string) tree {
	y := tree{}
	for name, data := range x {
		if rest, ok := strings.CutPrefix(name, prefix); ok && (rest == "" || strings.ContainsAny(rest[:1], "/0123456789abcdef")) {
			_, rest, _ = strings.Cut(rest, "/")
			y[rest] = data
		}
	}
	return y
}

// hidden reports whether something is on its way.
func (x tree) hidden() bool {
	for name := range x {
		if hasTemporary(name) {
			return true
		}
	}
	return false
}

// differs names what is not the same in both.
func (x tree) differs(y tree) (names []string) {
	for name, data := range x {
		if was, ok := y[name]; !ok || was != data {
			names = append(names, name)
		}
	}
	for name := range y {
		if _, ok := x[name]; !ok {
			names = append(names, "no "+name)
		}
	}
	return names
}
