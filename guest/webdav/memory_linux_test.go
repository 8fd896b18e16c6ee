package webdav

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMemoryOfAWalk: a client that walks 100,000 files and reads 10,000 of them, in
// order and large enough to be fetched ahead, costs the server less than 128 MiB.
func TestMemoryOfAWalk(t *testing.T) {
	const (
		limit   = 128 << 10 // KiB
		folders = 100
		files   = 1000 // of each folder
		read    = 100  // of these
	)
	quiet := t.TempDir() // nothing runs, so that all is kept for as long as it can be
	if err := os.Chtimes(quiet, time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	root, data := t.TempDir(), strings.Repeat("0123456789abcdef", 64<<10/16)
	for i := range folders {
		dir := filepath.Join(root, fmt.Sprintf("folder %d", i))
		write(t, data, dir, "file 0000.txt")
		for j := 1; j < files; j++ { // a link takes no room
			if err := os.Link(filepath.Join(dir, "file 0000.txt"), filepath.Join(dir, fmt.Sprintf("file %04d.txt", j))); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := run(t, buildGuest(t), root, "-read-only", "-runs", quiet)
	if e := p.propfind("/", "1", macOSPropfind); len(e) != folders+1 {
		t.Fatalf("%d entries", len(e))
	}
	for i := range folders {
		dir := fmt.Sprintf("/folder%%20%d/", i)
		if e := p.propfind(dir, "1", macOSPropfind); len(e) != files+1 {
			t.Fatalf("%d entries", len(e))
		}
		for j := range read {
			if got := p.do("GET", fmt.Sprintf("%sfile%%20%04d.txt", dir, j), nil); got.body != data {
				t.Fatalf("%d of %d bytes, %v", len(got.body), len(data), got.err)
			}
		}
	}
	peak := p.peak()
	t.Logf("at most %d MiB", peak>>10)
	if peak > limit {
		t.Errorf("%d MiB of memory", peak>>10)
	}
}
