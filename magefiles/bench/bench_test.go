package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
)

func TestUnknownBenchmark(t *testing.T) {
	err := Run(t.Context(), "everything", 0, &bytes.Buffer{})
	if proto.CodeOf(err) != proto.Config || !strings.Contains(err.Error(), `no benchmark "everything"`) ||
		!strings.Contains(err.Error(), "backup, local, million") {
		t.Error(err)
	}
}

// What grows in proportion, above what a run always costs, is said to.
func TestGrowth(t *testing.T) {
	at := func(files int) row {
		d := time.Second + time.Duration(files)*50*time.Microsecond
		return row{files: files, again: usage{Wall: 2 * d, CPU: d}, peaks: peaks{sum: 100 << 20}}
	}
	got := growth([]row{at(10_000), at(100_000), at(1_000_000)})
	for _, want := range []string{
		"A file of an unchanged run takes 300 µs (CPU 150 µs) at 10,000, 120 µs (CPU 60 µs) at 100,000, 102 µs (CPU 51 µs) at 1,000,000;",
		"one more file takes 100 µs (CPU 50 µs) up to 100,000, 100 µs (CPU 50 µs) up to 1,000,000.\n",
		"100 times as many files take 0.34 times as long a file (CPU 0.34 times), and 1.0 times the memory.\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q: %s", want, got)
		}
	}
}

// A tree of 5,000 files is the one that README.md speaks of; one of fewer files
// is spread the same way, and the files that change are 1 % by number.
func TestTree(t *testing.T) {
	for _, c := range []struct{ files, changed int }{{5000, 50}, {50, 1}, {2, 1}} {
		tr := newTree("", c.files)
		if n := len(tr.changed()); n != c.changed {
			t.Errorf("of %d files %d change, not %d", c.files, n, c.changed)
		}
		if mib := tr.bytes(tr.all()) >> 20; c.files == 5000 && (mib < 490 || mib > 498) {
			t.Errorf("%d files have %d MiB", c.files, mib)
		}
	}
}

// The same number of files gives the same bytes, and a change changes only what
// it says.
func TestTreeIsTheSame(t *testing.T) {
	a, b := newTree(t.TempDir(), 100), newTree(t.TempDir(), 100)
	for _, tr := range []tree{a, b} {
		if err := tr.make(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	compareDirs := func() error { return same(t.Context(), a.dir, b.dir) }
	for _, dir := range folders(t, a.dir) { // times of folders are those of their making
		settle(t, a.dir+dir)
		settle(t, b.dir+dir)
	}
	if err := compareDirs(); err != nil {
		t.Error(err)
	}
	if err := b.change(); err != nil {
		t.Fatal(err)
	}
	err := compareDirs()
	if proto.CodeOf(err) != proto.Different || !strings.Contains(err.Error(), "in 2 places") { // content and time
		t.Error(err)
	}
}

// folders are dir and all below it, relative to it.
func folders(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			all = append(all, strings.TrimPrefix(p, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func settle(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chtimes(dir, time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
}
