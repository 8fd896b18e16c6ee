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
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if a.listings.fetching()+a.files.fetching() == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("something is being fetched all the time")
		}
	}
}

func (s *shelf[T]) fetching() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.oldest.Front(); e != nil; e = e.Next() {
		select {
		case <-e.Value.(*thing[T]).done:
		default:
			n++
		}
	}
	return n
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
	return newAhead(f, c.now), f, root, c
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

// The memory is bounded: the oldest goes first, and what would take the place of
// too much else is not kept.
func TestShelfIsBounded(t *testing.T) {
	c := &clock{t: time.Now()}
	s := newShelf[string](time.Minute, 16, 1, c.now)
	for i := range 20 {
		s.put(fmt.Sprint(i), c.now(), "x", 4)
	}
	if len(s.things) != 4 || s.size != 16 {
		t.Errorf("%d things of %d", len(s.things), s.size)
	}
	s.put("large", c.now(), "x", 5)
	if _, found, _ := s.get(t.Context(), "large"); found || len(s.things) != 4 {
		t.Errorf("large: %v, and %d others", found, len(s.things))
	}
	s.fetch("full", func() (string, int, error) { return "x", 1, nil })
	if s.things["full"] != nil {
		t.Error("something is fetched that takes the place of what was fetched before")
	}
	c.pass(time.Minute + 1)
	s.put("new", c.now(), "x", 1)
	if len(s.things) != 1 {
		t.Errorf("what is too old was kept: %d things", len(s.things))
	}
	// The monotonic clock stands still while a machine sleeps.
	c.t = c.t.Round(0).Add(8 * time.Hour)
	if _, found, _ := s.get(t.Context(), "new"); found {
		t.Error("what was had before a sleep is given after it")
	}
}

// Who has waited gets what came, however long it took.
func TestShelfGivesWhatWasWaitedFor(t *testing.T) {
	c := &clock{t: time.Now()}
	s := newShelf[string](time.Minute, 16, 1, c.now)
	held, begun := make(chan struct{}), make(chan struct{})
	s.fetch("slow", func() (string, int, error) { close(begun); <-held; return "came", 1, nil })
	<-begun
	got := make(chan string)
	go func() {
		v, _, _ := s.get(t.Context(), "slow")
		got <- v
	}()
	time.Sleep(10 * time.Millisecond) // for it to wait; else it tests nothing, and does not fail
	c.pass(2 * time.Minute)
	close(held)
	if v := <-got; v != "came" {
		t.Errorf("%q", v)
	}
	if _, found, _ := s.get(t.Context(), "slow"); found {
		t.Error("it is given to who asks later")
	}
}

// A panic while something is fetched is an error, for who waits.
func TestShelfSurvivesPanic(t *testing.T) {
	s := newShelf[string](time.Minute, 16, 1, time.Now)
	begun := make(chan struct{})
	s.fetch("bad", func() (string, int, error) { <-begun; panic("boom") })
	for {
		s.mu.Lock()
		is := s.things["bad"].Value.(*thing[string]).begun
		s.mu.Unlock()
		if is {
			break
		}
		time.Sleep(time.Millisecond)
	}
	ended := make(chan error)
	go func() {
		_, _, err := s.get(t.Context(), "bad")
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond) // as above
	close(begun)
	if err := <-ended; err != nil && !strings.Contains(err.Error(), "boom") {
		t.Error(err)
	}
	s.fetch("good", func() (string, int, error) { return "x", 1, nil })
	for {
		if _, found, _ := s.get(t.Context(), "good"); found {
			break
		}
		s.fetch("good", func() (string, int, error) { return "x", 1, nil })
	}
}

// Many at once, on few keys: nothing but what was put, and all end.
func TestShelfStress(t *testing.T) {
	s := newShelf[string](time.Millisecond, 64, 4, time.Now)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 500 {
				key := fmt.Sprint((i + j) % 20)
				switch j % 4 {
				case 0:
					s.put(key, time.Now(), key, 1+j%8)
				case 1:
					s.fetch(key, func() (string, int, error) {
						if j%3 == 0 {
							return "", 0, errors.New("failed")
						}
						return key, 1 + j%20, nil
					})
				default:
					get := s.get
					if j%4 == 2 {
						get = s.take
					}
					if v, found, err := get(t.Context(), key); found && (v != key || err != nil) {
						t.Errorf("%q of %q, %v", v, key, err)
					}
				}
			}
		})
	}
	wg.Wait()
	for s.fetching() > 0 {
		time.Sleep(time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for e := s.oldest.Front(); e != nil; e = e.Next() {
		sum += e.Value.(*thing[string]).cost
	}
	if sum != s.size || s.size > s.max || len(s.things) != s.oldest.Len() || s.queued != 0 {
		t.Errorf("%d of %d in %d things (%d), %d queued", s.size, sum, len(s.things), s.oldest.Len(), s.queued)
	}
}
