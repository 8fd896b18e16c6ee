package webdav

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"
)

// clock is a time that only the test lets pass.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// countingServer serves a fakeFS read-only, with a clock.
func countingServer(t *testing.T) (s *testServer, root string, f *fakeFS, c *clock) {
	root = t.TempDir()
	f = &fakeFS{Dir: newDir(t, root)}
	c = &clock{t: time.Now()}
	return start(t, f, true, func(s *Server) { s.absences = newAbsences(c.now) }), root, f, c
}

// calls counts those of the file system since it was last asked.
func (f *fakeFS) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.opens + f.stats + f.listing
	f.opens, f.stats, f.listing = 0, 0, 0
	return n
}

func (s *testServer) probe(path string) int {
	s.t.Helper()
	return s.do("PROPFIND", path, strings.NewReader(macOSPropfind), "Depth: 0", macOSAgent).StatusCode
}

func TestProbesCostNothingAfterAListing(t *testing.T) {
	s, root, f, c := countingServer(t)
	for i := range 200 {
		write(t, "x", root, "Grüße", fmt.Sprintf("photo%03d.jpg", i))
	}
	write(t, "mine", root, "Grüße", "._photo007.jpg")
	write(t, "mine", root, "Grüße", norm.NFC.String("._ö"))
	write(t, "mine", root, "Grüße", norm.NFD.String("._ü"))
	write(t, "mine", root, "Grüße", ".TemporaryItems", "f")
	folder := "/Gr%C3%BC%C3%9Fe"

	if got := s.probe(folder + "/._photo001.jpg"); got != 404 || f.calls() == 0 {
		t.Errorf("before a listing: status %d, and the file system was not asked", got)
	}
	s.propfind(folder, "1", macOSPropfind)
	f.calls()
	probe := func() {
		for i := range 200 {
			want := 404
			if i == 7 {
				want = 207
			}
			if got := s.probe(fmt.Sprintf("%s/._photo%03d.jpg", folder, i)); got != want {
				t.Errorf("%d: status %d", i, got)
			}
		}
		for name := range probedNames {
			if got := s.probe(folder + esc(name)); got != 404 && name != ".TemporaryItems" {
				t.Errorf("%s: status %d", name, got)
			}
		}
	}
	probe()
	if n := f.calls(); n != 2 {
		t.Errorf("%d calls, want one each for the two that exist", n)
	}
	// What lies in one of them neither; what exists is there whatever the Unicode form.
	for name, want := range map[string]int{".Trashes/501": 404, ".Spotlight-V100/Store-V2/x": 404, ".TemporaryItems/f": 207, ".TemporaryItems/none": 404,
		esc(norm.NFC.String("._ü"))[1:]: 207, esc(norm.NFD.String("._ü"))[1:]: 207, esc(norm.NFC.String("._ö"))[1:]: 207, esc(norm.NFD.String("._ö"))[1:]: 207, "photo000.jpg": 207, "photo999.jpg": 404, "._photo007.jpg/x": 404} {
		if got := s.probe(folder + "/" + name); got != want {
			t.Errorf("%s: status %d, want %d", name, got, want)
		}
	}
	// Nothing is known of the folder under another name, of others, and by other methods.
	f.calls()
	s.probe("/._x")
	s.probe(folder + "/sub/._x")
	s.do("GET", folder+"/._photo000.jpg", nil).want(t, 404)
	s.do("HEAD", folder+"/._photo000.jpg", nil).want(t, 404)
	if n := f.calls(); n < 4 {
		t.Errorf("%d calls for 4 requests that need one", n)
	}

	// One that appears is there for GET at once, and for PROPFIND after the time stated.
	write(t, "new", root, "Grüße", "._photo000.jpg")
	write(t, "new", root, "Grüße", "new.jpg")
	s.do("GET", folder+"/._photo000.jpg", nil).want(t, 200)
	if got := s.probe(folder + "/new.jpg"); got != 207 {
		t.Errorf("new.jpg: status %d", got)
	}
	c.pass(absenceAge - time.Nanosecond)
	if got := s.probe(folder + "/._photo000.jpg"); got != 404 {
		t.Errorf("within 10 s: status %d; the test proves nothing", got)
	}
	c.pass(time.Nanosecond)
	if got := s.probe(folder + "/._photo000.jpg"); got != 207 {
		t.Errorf("after 10 s: status %d", got)
	}
	// A new listing tells it at once.
	s.propfind(folder, "1", macOSPropfind)
	write(t, "newer", root, "Grüße", "._photo001.jpg")
	s.propfind(folder, "1", macOSPropfind)
	if got := s.probe(folder + "/._photo001.jpg"); got != 207 {
		t.Errorf("after another listing: status %d", got)
	}
}

// TestListingAges: what came into the folder while it was being read may be
// missing in the listing, so its age counts from the beginning.
func TestListingAges(t *testing.T) {
	s, root, f, c := countingServer(t)
	f.set(faults{onReadDir: func(infos []fs.FileInfo) ([]fs.FileInfo, error) {
		write(t, "x", root, "._f")
		c.pass(absenceAge)
		return infos, nil
	}})
	s.propfind("/", "1", "")
	if got := s.probe("/._f"); got != 207 {
		t.Errorf("status %d", got)
	}
	// A listing that failed says nothing, nor does one made in the future.
	f.set(faults{onReadDir: func([]fs.FileInfo) ([]fs.FileInfo, error) {
		os.Remove(filepath.Join(root, "._f"))
		return nil, syscall.EIO
	}})
	s.do("PROPFIND", "/", nil, "Depth: 1").want(t, 500)
	f.set(faults{})
	write(t, "x", root, "._f")
	if got := s.probe("/._f"); got != 207 {
		t.Errorf("after a failed listing: status %d", got)
	}
	os.Remove(filepath.Join(root, "._f"))
	s.propfind("/", "1", "")
	write(t, "x", root, "._f")
	c.pass(-time.Hour)
	if got := s.probe("/._f"); got != 207 {
		t.Errorf("after the clock was set back: status %d", got)
	}
}

func TestReadWriteServerRemembersNothing(t *testing.T) {
	s, _ := serveDir(t, false)
	s.propfind("/", "1", "")
	s.do("PUT", "/._f", strings.NewReader("x")).want(t, 201)
	if got := s.probe("/._f"); got != 207 {
		t.Errorf("status %d", got)
	}
}

type namedInfo struct {
	fs.FileInfo
	name string
}

func (n namedInfo) Name() string { return n.name }

func TestAbsencesAreBounded(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	c := &clock{t: time.Now()}
	for what, fill := range map[string]func(a *absences, i int){
		"many folders":   func(a *absences, i int) { a.listed(fmt.Sprintf("folder%d", i), c.now(), nil) },
		"long names":     func(a *absences, i int) { a.listed(fmt.Sprintf("%d%s", i, strings.Repeat("x", 4000)), c.now(), nil) },
		"the same again": func(a *absences, i int) { a.listed("same", c.now(), []fs.FileInfo{namedInfo{name: "._x"}}) },
		"many probes": func(a *absences, i int) {
			var infos []fs.FileInfo
			for j := range 500 {
				infos = append(infos, namedInfo{name: fmt.Sprintf("._%d", j)})
			}
			a.listed(fmt.Sprint(i), c.now(), infos)
		},
	} {
		a := newAbsences(c.now)
		before := heap()
		for i := range 10_000 {
			fill(a, i)
		}
		grown := int64(heap()) - int64(before)
		t.Logf("%s: %d folders known, %d bytes counted, heap grown by %d KiB", what, len(a.folders), a.size, grown>>10)
		if a.size > absencesMax || grown > 2*absencesMax {
			t.Errorf("%s: not bounded", what)
		}
		if len(a.folders) != a.oldest.Len() || len(a.folders) == 0 {
			t.Errorf("%s: %d and %d", what, len(a.folders), a.oldest.Len())
		}
		c.pass(absenceAge)
		a.listed("last", c.now(), nil)
		if len(a.folders) != 1 {
			t.Errorf("%s: what is too old is kept", what)
		}
	}
	// Of a folder with more than is remembered, nothing is known, not even what was.
	a := newAbsences(c.now)
	a.listed(".", c.now(), nil)
	if !a.has("._new") {
		t.Error("not remembered")
	}
	infos := []fs.FileInfo{namedInfo{name: "._new"}}
	for i := range 10_000 {
		infos = append(infos, namedInfo{name: fmt.Sprintf("._%d", i)})
	}
	a.listed(".", c.now(), infos)
	if a.has("._new") || a.has("._9999") || a.size != 0 {
		t.Errorf("a part of a listing was taken for the whole")
	}
}
