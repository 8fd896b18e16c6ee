package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fuseless/guest/rundir"
)

// distantFS is an FS in which each call waits until the test lets it go on, and
// is remembered.
type distantFS struct {
	*Dir
	mu    sync.Mutex
	asked map[string]int // by "list NAME" and "read NAME"
	held  chan struct{}  // nil: nothing is held
	fails error
	nodes bool // it has inodes; else a file that was replaced is like another version of it
}

// Stat describes a file as one of which only the name is the same, as over sftp.
func (f *distantFS) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	fi, err := f.Dir.Stat(ctx, name)
	if err != nil || f.nodes {
		return fi, err
	}
	return noInode{fi}, nil
}

type noInode struct{ fs.FileInfo }

func (noInode) Sys() any { return nil }

func (f *distantFS) call(what string) error {
	f.mu.Lock()
	f.asked[what]++
	held, err := f.held, f.fails
	f.mu.Unlock()
	if held != nil {
		<-held
	}
	return err
}

func (f *distantFS) ReadDir(ctx context.Context, name string) ([]fs.FileInfo, error) {
	if err := f.call("list " + name); err != nil {
		return nil, err
	}
	return f.Dir.ReadDir(ctx, name)
}

func (f *distantFS) Open(ctx context.Context, name string) (File, error) {
	if err := f.call("read " + name); err != nil {
		return nil, err
	}
	return f.Dir.Open(ctx, name)
}

// set changes what happens to calls from now on.
func (f *distantFS) set(held chan struct{}, fails error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held, f.fails = held, fails
}

// calls are those since it was last asked, sorted, each with how often if more than
// once.
func (f *distantFS) calls() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for what, n := range f.asked {
		if n > 1 {
			what = fmt.Sprintf("%s, %d times", what, n)
		}
		all = append(all, what)
	}
	clear(f.asked)
	slices.Sort(all)
	return all
}

// idle waits until nothing is being fetched.
func (a *Ahead) idle(t *testing.T) {
	t.Helper()
	a.listings.settle(t)
	a.files.settle(t)
}

// distant is an Ahead in front of files, each with its name as its contents.
func distant(t *testing.T, files ...string) (a *Ahead, f *distantFS, root string, c *clock) {
	t.Helper()
	root = t.TempDir()
	for _, name := range files {
		put(t, filepath.Join(root, name), path.Base(name))
	}
	f = &distantFS{Dir: newDir(t, root), asked: map[string]int{}}
	c = &clock{t: time.Now()}
	return newAhead(f, c.now, nil), f, root, c
}

func put(t *testing.T, file, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (a *Ahead) names(t *testing.T, folder string) (names []string) {
	t.Helper()
	infos, err := a.ReadDir(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, fi := range infos {
		names = append(names, fi.Name())
	}
	return names
}

func (a *Ahead) read(t *testing.T, name string) string {
	t.Helper()
	f, err := a.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sameCalls fails unless these are the calls since the last look.
func (f *distantFS) sameCalls(t *testing.T, what string, want ...string) {
	t.Helper()
	if got := f.calls(); !slices.Equal(got, want) {
		t.Errorf("%s: asked for %q, not %q", what, got, want)
	}
}

// What is in a folder that was listed is listed ahead, one level; a walk waits for
// no folder. After the stated time it is asked for anew.
func TestFoldersAreListedAhead(t *testing.T) {
	a, f, root, c := distant(t, "a/1", "a/deep/2", "b/3", "file")
	if got := a.names(t, "."); !slices.Equal(got, []string{"a", "b", "file"}) {
		t.Error(got)
	}
	a.idle(t)
	f.sameCalls(t, "a listing", "list .", "list a", "list b")
	if got := a.names(t, "a"); !slices.Equal(got, []string{"1", "deep"}) {
		t.Error(got)
	}
	a.idle(t)
	f.sameCalls(t, "a folder in it", "list a/deep")
	a.names(t, "b")
	a.names(t, "a/deep")
	a.names(t, ".")
	f.sameCalls(t, "all that is known")
	put(t, filepath.Join(root, "b/new"), "")
	c.pass(aheadAge)
	if got := a.names(t, "b"); !slices.Equal(got, []string{"3"}) {
		t.Errorf("within the time: %q", got)
	}
	c.pass(time.Millisecond)
	if got := a.names(t, "b"); !slices.Equal(got, []string{"3", "new"}) {
		t.Errorf("after the time: %q", got)
	}
}

// As long as none of our runs has changed the view, a listing is good for longer; not so
// one that may be of what sshfs remembered from before a run's end, nor an error.
func TestListingsAreKeptWhileNothingRuns(t *testing.T) {
	a, f, root, c := distant(t, "a/1")
	dir := t.TempDir()
	a = newAhead(f, c.now, func(at time.Time) bool { return rundir.QuietSince(dir, at) })
	changed := func(at time.Time) {
		t.Helper()
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	begun := c.now()
	changed(begun.Add(-aheadAge - time.Second))
	a.names(t, "a")
	put(t, filepath.Join(root, "a/2"), "")
	old, both := []string{"1"}, []string{"1", "2"}
	is := func(what string, want []string) {
		t.Helper()
		if got := a.names(t, "a"); !slices.Equal(got, want) {
			t.Errorf("%s: %q", what, got)
		}
	}
	c.pass(quietAge)
	is("within the time", old)
	c.pass(time.Millisecond)
	is("after the time", both)

	put(t, filepath.Join(root, "a/3"), "")
	c.pass(aheadAge + time.Second)
	is("nothing runs", both)
	if err := os.Mkdir(filepath.Join(dir, rundir.RunPrefix+"1"), 0o700); err != nil {
		t.Fatal(err)
	}
	changed(begun)
	is("while something runs", []string{"1", "2", "3"})
	put(t, filepath.Join(root, "a/4"), "")
	c.pass(aheadAge)
	is("while something runs, within the time", []string{"1", "2", "3"})
	if err := os.Remove(filepath.Join(dir, rundir.RunPrefix+"1")); err != nil {
		t.Fatal(err)
	}
	changed(c.now())
	c.pass(time.Millisecond)
	is("after the run", []string{"1", "2", "3", "4"})
	put(t, filepath.Join(root, "a/5"), "")
	c.pass(aheadAge + time.Millisecond)
	is("read so soon after a run that sshfs may have remembered it", []string{"1", "2", "3", "4", "5"})
	put(t, filepath.Join(root, "a/6"), "")
	c.pass(aheadAge + time.Millisecond)
	is("read later", []string{"1", "2", "3", "4", "5"})

	a.listings.fetch("failed", func() ([]fs.FileInfo, int, error) { return nil, 0, errors.New("the link is dead") })
	a.idle(t)
	c.pass(aheadAge + time.Millisecond)
	a.listings.fetch("failed", func() ([]fs.FileInfo, int, error) { return []fs.FileInfo{}, 1, nil })
	a.idle(t)
	if _, found, err := a.listings.get(t.Context(), "failed"); !found || err != nil {
		t.Errorf("what failed is not tried again: %v", err)
	}
}

// A listing on its way is waited for and not begun again, and one that waits for
// others is not waited for.
func TestListingOnItsWay(t *testing.T) {
	var names []string
	for i := range aheadWidth + 3 {
		names = append(names, fmt.Sprintf("%02d/file", i))
	}
	a, f, _, _ := distant(t, names...)
	held := make(chan struct{})
	infos, err := f.Dir.ReadDir(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	a.listings.put(".", a.now(), infos, len(infos))
	f.set(held, nil)
	a.names(t, ".")
	for len(f.now()) < aheadWidth {
		time.Sleep(time.Millisecond)
	}
	var wg sync.WaitGroup
	begun := strings.TrimPrefix(f.now()[0], "list ")
	waits := ""
	for i := range names {
		if n := path.Dir(names[i]); !slices.Contains(f.now(), "list "+n) {
			waits = n
		}
	}
	f.set(nil, nil)
	if got := a.names(t, waits); !slices.Equal(got, []string{"file"}) {
		t.Errorf("who waits for others: %q", got)
	}
	wg.Go(func() {
		if got := a.names(t, begun); !slices.Equal(got, []string{"file"}) {
			t.Errorf("who is on the way: %q", got)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.set(nil, ctx.Err())
	if _, err := a.ReadDir(ctx, strings.TrimPrefix(f.now()[1], "list ")); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that is gone waits on: %v", err)
	}
	f.set(nil, nil)
	close(held)
	wg.Wait()
	a.idle(t)
	if got := f.calls(); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, begun+",") || strings.Contains(s, waits+",") }) {
		t.Errorf("listed twice: %q", got)
	}
}

// Who waits for a listing that fails gets its error, and does not wait again: over
// a dead link each takes as long as an answer may take.
func TestFailureOnItsWay(t *testing.T) {
	a, f, _, _ := distant(t, "a/1")
	infos, err := f.Dir.ReadDir(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	a.listings.put(".", a.now(), infos, len(infos))
	held, broken := make(chan struct{}), errors.New("broken")
	f.set(held, broken)
	a.names(t, ".")
	for len(f.now()) == 0 {
		time.Sleep(time.Millisecond)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := a.ReadDir(t.Context(), "a")
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Errorf("it does not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(held)
	if err := <-ended; err != broken {
		t.Error(err)
	}
	f.sameCalls(t, "who waits", "list a")
}

// now are the calls so far.
func (f *distantFS) now() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for what := range f.asked {
		all = append(all, what)
	}
	slices.Sort(all)
	return all
}

// What cannot be listed or read is tried again by who asks, and its error is not
// kept.
func TestFailedFetchIsForgotten(t *testing.T) {
	a, f, _, _ := distant(t, "a/1", "a/2", "a/3", "a/4")
	infos, err := f.Dir.ReadDir(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	a.listings.put(".", a.now(), infos, len(infos))
	broken := errors.New("broken")
	f.set(nil, broken)
	a.names(t, ".")
	a.idle(t)
	if _, err := a.ReadDir(t.Context(), "a"); err != broken {
		t.Error(err)
	}
	f.set(nil, nil)
	if got := a.names(t, "a"); len(got) != 4 {
		t.Error(got)
	}
	a.read(t, "a/1")
	a.idle(t)
	f.set(nil, broken)
	_, _ = a.Open(t.Context(), "a/2")
	a.idle(t)
	f.set(nil, nil)
	if got := a.read(t, "a/3"); got != "3" {
		t.Errorf("%q", got)
	}
}

// Who reads the files of a folder in order gets them from memory, from the third
// on; each once. Nothing is read ahead otherwise.
func TestSmallFilesAreReadAhead(t *testing.T) {
	var names []string
	for i := range filesAhead + 10 {
		names = append(names, fmt.Sprintf("folder/%03d", i))
	}
	a, f, root, c := distant(t, names...)
	put(t, filepath.Join(root, "folder/003large"), strings.Repeat("x", smallMax+1))
	a.names(t, "folder")
	f.sameCalls(t, "the listing", "list folder")
	read := func(i int) {
		t.Helper()
		if got := a.read(t, names[i]); got != path.Base(names[i]) {
			t.Errorf("file %d: %q", i, got)
		}
		a.idle(t)
	}
	for _, i := range []int{30, 20, 10, 9, 8, 8} {
		read(i)
	}
	f.sameCalls(t, "in no order", "read folder/008, 2 times", "read folder/009", "read folder/010", "read folder/020", "read folder/030")
	read(0)
	f.sameCalls(t, "the first", "read folder/000")
	read(1)
	got := f.calls()
	if len(got) != 1+filesAhead-1 || got[0] != "read folder/001" || got[1] != "read folder/002" || slices.Contains(got, "read folder/003large") {
		t.Errorf("after the second: %q", got)
	}
	read(2)
	read(3)
	if got := f.calls(); len(got) != 2 {
		t.Errorf("after the fourth: %q", got)
	}
	read(3)
	f.sameCalls(t, "a file again", "read folder/003")
	c.pass(contentsAge + time.Millisecond)
	put(t, filepath.Join(root, "folder/004"), "004")
	read(4)
	if got := f.calls(); !slices.Contains(got, "read folder/004") {
		t.Errorf("after the time: %q", got)
	}
}

// Contents that were read ahead are not given out for a file that was replaced
// since, as long as that can be seen.
func TestReplacedFileIsNotGivenFromMemory(t *testing.T) {
	a, f, root, _ := distant(t, "folder/1", "folder/2", "folder/3")
	s := serve(t, a, true)
	s.do("PROPFIND", "/folder/", nil, "Depth: 1")
	for _, n := range []string{"1", "2"} {
		if got := s.do("GET", "/folder/"+n, nil).body; got != n {
			t.Errorf("%q", got)
		}
	}
	a.idle(t)
	if got := f.calls(); !slices.Contains(got, "read folder/3") {
		t.Fatalf("it is not read ahead: %q", got)
	}
	put(t, filepath.Join(root, "new"), "replaced")
	if err := os.Rename(filepath.Join(root, "new"), filepath.Join(root, "folder/3")); err != nil {
		t.Fatal(err)
	}
	if got := s.do("GET", "/folder/3", nil).body; got != "replaced" {
		t.Errorf("%q", got)
	}
}

// A page that is sorted leaves the listing that others get as it is.
func TestSortedPageLeavesListing(t *testing.T) {
	a, _, root, _ := distant(t, "1", "2")
	put(t, filepath.Join(root, "3"), "the largest")
	s := serve(t, a, true)
	s.do("GET", "/?sort=size&order=desc", nil).want(t, 200)
	if got := a.names(t, "."); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("%q", got)
	}
}
