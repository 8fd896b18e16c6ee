package webdav

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

// What a server left that was killed while it replaced a folder is there again with the next.
func TestRecover(t *testing.T) {
	for _, c := range []struct {
		what   string
		killed func(d *Dir, root string) // at this point
		want   string                    // of the root
		old    string                    // where the old folder is
		says   string
	}{
		{"before it is set aside", func(d *Dir, root string) {
			write(t, "a/tree", root, ".fuseless-replaced-"+strings.Repeat("0", 32), asideName)
		}, "a", "a/tree", ""},
		{"before anything takes its place", func(d *Dir, root string) {
			aside, err := d.setAside("a/tree")
			if err != nil || ls(t, root+"/a") != "" {
				t.Errorf("%v, %v; it holds %s", aside, err, ls(t, root+"/a"))
			}
		}, "a", "a/tree", `"a/tree" was being replaced when the server was killed, and is there again`},
		{"before what was replaced is given up", func(d *Dir, root string) {
			if _, err := d.setAside("a/tree"); err != nil {
				t.Error(err)
			}
			write(t, "new", root, "a", "tree", "f")
		}, "a", "a/tree (replaced *)", `"a/tree" was being replaced when the server was killed: the old one is "a/tree (replaced *)"`},
		{"and its folder is gone", func(d *Dir, root string) {
			if _, err := d.setAside("a/tree"); err != nil {
				t.Error(err)
			}
			if err := os.Remove(root + "/a"); err != nil {
				t.Error(err)
			}
		}, "tree (replaced *)", "tree (replaced *)", `"a/tree" was being replaced when the server was killed: the old one is "tree (replaced *)"`},
		{"and its name is lost", func(d *Dir, root string) {
			aside, err := d.setAside("a/tree")
			if err != nil || os.Remove(filepath.Join(root, aside.folder, asideName)) != nil {
				t.Error(err)
			}
		}, "a recovered", "recovered", `"recovered" was being replaced when the server was killed, and is there again`},
	} {
		root := t.TempDir()
		write(t, "old", root, "a", "tree", "f")
		c.killed(newDir(t, root), root)
		d := newDir(t, root)
		found, err := d.Recover()
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		marked := func(pattern, s string) bool {
			before, after, any := strings.Cut(pattern, "*")
			return s == pattern || any && strings.HasPrefix(s, before) && strings.HasSuffix(s, after)
		}
		if got := strings.Join(found, "\n"); !marked(c.says, got) {
			t.Errorf("%s: it says %q, not %q", c.what, got, c.says)
		}
		if got := ls(t, root); !marked(c.want, got) {
			t.Errorf("%s: there is %q, not %q", c.what, got, c.want)
		}
		if at, _ := filepath.Glob(filepath.Join(root, c.old, "f")); len(at) != 1 || read(t, at[0]) != "old" {
			t.Errorf("%s: %s is not the old one: %v", c.what, c.old, at)
		}
	}
}

// All that uploads and copies of a killed server have left goes, and nothing else.
func TestSweep(t *testing.T) {
	root := t.TempDir()
	d := newDir(t, root)
	temp := func(n int) string { return fmt.Sprintf("%s%032x", temporaryPrefix, n) }
	write(t, "x", root, temp(1))
	write(t, "x", root, "a", "b", temp(2))
	write(t, "x", root, "a", temp(3), "tree", "f")
	write(t, "mine", root, "a", temporaryPrefix+"x")
	os.Symlink("a", root+"/link")
	u, err := d.OpenWrite(t.Context(), "a/now")
	if err != nil {
		t.Fatal(err)
	}
	if n, found := d.Sweep(t.Context()); n != 3 || found != nil {
		t.Errorf("%d are removed; %q", n, found)
	}
	if err := u.Commit(); err != nil {
		t.Error(err)
	}
	if got := ls(t, root) + "|" + ls(t, root+"/a") + "|" + ls(t, root+"/a/b"); got != "a link|"+temporaryPrefix+"x b now|" {
		t.Errorf("there is %s", got)
	}
}

// What was set aside by a server of a part of the folder comes back, too.
func TestSweepBringsBackBelow(t *testing.T) {
	root := t.TempDir()
	write(t, "old", root, "sub", "a", "tree", "f")
	if _, err := newDir(t, filepath.Join(root, "sub")).setAside("a/tree"); err != nil {
		t.Fatal(err)
	}
	if n, found := newDir(t, root).Sweep(t.Context()); n != 0 || len(found) != 1 || !strings.HasPrefix(found[0], `"sub/a/tree" was being replaced`) {
		t.Errorf("%d, %q", n, found)
	}
	if got := read(t, root, "sub", "a", "tree", "f") + ls(t, root+"/sub"); got != "olda" {
		t.Errorf("there is %s", got)
	}
}

// A read-only server cannot bring it back, and does not hide it.
func TestReadOnlyShowsWhatWasSetAside(t *testing.T) {
	root := t.TempDir()
	write(t, "old", root, "tree", "f")
	aside, err := newDir(t, root).setAside("tree")
	if err != nil {
		t.Fatal(err)
	}
	write(t, "x", root, temporaryPrefix+strings.Repeat("0", temporaryDigits))
	for _, show := range []bool{false, true} {
		d := newDir(t, root)
		d.ShowReplaced = show
		s := serve(t, d, true)
		body := s.do("PROPFIND", "/", nil, "Depth: 1").body
		if strings.Contains(body, aside.folder) != show || strings.Contains(body, temporaryPrefix) {
			t.Errorf("show %t: %s", show, body)
		}
		if res := s.do("GET", "/"+aside.thing()+"/f", nil); (res.StatusCode == 200) != show {
			t.Errorf("show %t: %d", show, res.StatusCode)
		}
	}
}

// Two servers that write into one folder would each take the other for dead.
func TestOneServerWrites(t *testing.T) {
	root := t.TempDir()
	first := newDir(t, root)
	if err := first.Alone(); err != nil {
		t.Fatal(err)
	}
	temp := temporaryPrefix + strings.Repeat("0", temporaryDigits)
	write(t, "under way", root, temp)
	args := []string{"-root", root, "-listen", "127.0.0.1:0", "-credentials", credentialsFile(t, "u:p\n", 0o600)}
	if err := Command(t.Context(), args, io.Discard, io.Discard); proto.CodeOf(err) != proto.Serve || !strings.Contains(err.Error(), "another server") {
		t.Errorf("the second says %v", err)
	}
	if ls(t, root) != temp {
		t.Error("the second has removed what the first has under way")
	}
	first.Close()
	if err := newDir(t, root).Alone(); err != nil {
		t.Errorf("when the first has ended: %v", err)
	}
}

// A folder that is moved takes what comes into it along, and nothing stays of what breaks off.
func TestMovedDuringUpload(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "a", "b", "f")
	f := &fakeFS{Dir: newDir(t, root)}
	s := serve(t, f, false)
	begun := make(chan bool, 1)
	f.set(faults{onWrite: func(u Upload) Upload { begun <- true; return u }})
	for _, names := range [][2]string{{"/a", "/moved"}, {"/moved", "/a"}} {
		from, to := names[0], names[1]
		body, in := io.Pipe()
		ended := make(chan response)
		go func() { ended <- s.do("PUT", from+"/b/new", body) }()
		fmt.Fprint(in, "late")
		<-begun
		s.do("MOVE", from, nil, "Destination: "+to).want(t, 201)
		in.Close()
		(<-ended).want(t, 409)
		if got := ls(t, root+to+"/b"); got != "f" {
			t.Errorf("there is %s", got)
		}
	}
}

// A file gets mode and attributes of what it replaces when it does, which may have come while
// its body came.
func TestUploadFollowsWhatItReplaces(t *testing.T) {
	root := t.TempDir()
	d := newDir(t, root)
	u, err := d.OpenWrite(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	write(t, "between", root, "f")
	if err := os.Chmod(root+"/f", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(root + "/f"); err != nil || fi.Mode().Perm() != 0o600 || fi.Size() != 0 {
		t.Errorf("it is %v, %v", fi, err)
	}
	if u, err = d.OpenWrite(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root+"/g", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(); err == nil || ls(t, root) != "f g" {
		t.Errorf("%v; there is %s", err, ls(t, root))
	}
}

// Others need not wait until all of what was deleted or replaced is gone.
func TestSlowRemovalHoldsNobodyUp(t *testing.T) {
	root := t.TempDir()
	f := &slowRemoval{Dir: newDir(t, root), at: make(chan bool)}
	s := serve(t, f, false)
	for _, method := range []string{"DELETE", "MOVE", "COPY"} {
		write(t, "x", root, "d", "f")
		write(t, "y", root, "over", "f")
		ended := make(chan response)
		go func() { ended <- s.do(method, "/d", nil, "Destination: /over") }()
		f.at <- true
		s.do("PUT", "/other", strings.NewReader("x"))
		s.do("MKCOL", "/new", nil).want(t, 201)
		s.do("MOVE", "/new", nil, "Destination: /newer").want(t, 201)
		s.do("MOVE", "/other", nil, "Destination: /newer/other").want(t, 201)
		f.at <- true
		(<-ended).want(t, 204)
		if err := os.RemoveAll(root + "/newer"); err != nil {
			t.Error(err)
		}
		want := map[string]string{"DELETE": "over", "MOVE": "over", "COPY": "d over"}[method]
		if got := ls(t, root); got != want {
			t.Errorf("%s: there is %s, not %s", method, got, want)
		}
	}
}

// slowRemoval is a Dir that stops before and after it removes what was in a folder called d or over.
type slowRemoval struct {
	*Dir
	at chan bool
}

func (f *slowRemoval) Remove(ctx context.Context, name string) (func() error, error) {
	rest, err := f.Dir.Remove(ctx, name)
	return func() (err error) { f.slow(func() { err = rest() }); return err }, err
}

func (f *slowRemoval) Rename(ctx context.Context, oldName, newName string) (func(), error) {
	rest, err := f.Dir.Rename(ctx, oldName, newName)
	if newName == "over" {
		return func() { f.slow(rest) }, err
	}
	return rest, err
}

func (f *slowRemoval) Stage(ctx context.Context, name string) (Stage, error) {
	stage, err := f.Dir.Stage(ctx, name)
	return slowStage{stage, f}, err
}

func (f *slowRemoval) slow(rest func()) {
	<-f.at
	<-f.at
	rest()
}

type slowStage struct {
	Stage
	f *slowRemoval
}

func (s slowStage) Commit() (func(), error) {
	rest, err := s.Stage.Commit()
	return func() { s.f.slow(rest) }, err
}
