package rundir

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestQuietSince(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	quiet := func(what string, since time.Time, want bool) {
		t.Helper()
		if got := QuietSince(dir, since); got != want {
			t.Errorf("%s: %t", what, got)
		}
	}
	long, soon := time.Now().Add(-time.Hour), time.Now().Add(time.Hour) // as clocks differ
	must(os.WriteFile(filepath.Join(dir, "webdav.json"), nil, 0o600))
	must(os.Chtimes(dir, long, long))
	quiet("nothing has run", long.Add(time.Second), true)
	quiet("something may have run at that moment", long, false)
	quiet("something has run since", long.Add(-time.Second), false)

	run, err := os.MkdirTemp(dir, RunPrefix)
	must(err)
	quiet("a run has begun since", long.Add(time.Second), false)
	quiet("a run is at work", soon, false)
	must(os.Chtimes(dir, long, long))
	quiet("a run is at work for long", soon, false)
	must(os.Remove(run))
	quiet("a run has ended since", long.Add(time.Second), false)
	quiet("a run had ended", soon, true)
	must(os.Remove(filepath.Join(dir, "webdav.json")))
	must(os.Remove(dir))
	quiet("the folder is gone", soon, false)
}
