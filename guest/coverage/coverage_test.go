package coverage

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var now = time.Unix(1_800_000_000, 0)

func record(name string, read int64) Record {
	return Record{Key: KeyOf("nas:photos", name), Size: 7, Mtime: 9, Read: read}
}

func read(s *Store, name string) int64 { return s.Read(KeyOf("nas:photos", name), 7, 9, now) }

// What was read counts whether the run ended well, was killed, or was killed in
// the middle of a note; and the next run can go on noting.
func TestSurvives(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Keep([]Record{record("b", 20), record("a", 10)}))
	s = open(t, dir)
	must(t, s.Add(record("c", 30)))
	must(t, s.Add(record("a", 40))) // and never closed
	f, err := os.OpenFile(filepath.Join(dir, "verify.journal"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString("torn")
	must(t, err)
	must(t, f.Close())
	for _, add := range []string{"", "d", "e"} {
		s = open(t, dir)
		for name, want := range map[string]int64{"a": 40, "b": 20, "c": 30} {
			if got := read(s, name); got != want {
				t.Errorf("after %q: %s was read %d, not %d", add, name, got, want)
			}
		}
		if add != "" {
			must(t, s.Add(record(add, 50)))
		}
	}
	s = open(t, dir)
	if read(s, "d") != 50 || read(s, "e") != 50 {
		t.Error("a torn journal cannot be added to")
	}
	// Only what the vault has is kept.
	must(t, s.Keep([]Record{record("d", 50)}))
	s = open(t, dir)
	if len(s.records) != 1 || read(s, "d") != 50 {
		t.Errorf("kept: %v", s.records)
	}
}

// Another size, time or vault is another file; a reading in the future is none.
func TestCountsOnlyTheSameFile(t *testing.T) {
	dir := t.TempDir()
	must(t, open(t, dir).Keep([]Record{record("a", 10), record("late", now.Unix()+1)}))
	s := open(t, dir)
	a := KeyOf("nas:photos", "a")
	if s.Read(a, 7, 9, now) != 10 {
		t.Fatal("it is not there at all")
	}
	if s.Read(a, 8, 9, now) != 0 || s.Read(a, 7, 8, now) != 0 || s.Read(KeyOf("disk", "a"), 7, 9, now) != 0 {
		t.Error("another file counts as read")
	}
	if read(s, "late") != 0 {
		t.Error("a reading in the future counts")
	}
}

// A file that is not ours, or broken, is as good as none.
func TestBrokenState(t *testing.T) {
	dir := t.TempDir()
	for _, b := range []string{"", "x", magic[:5], magic, magic + "short"} {
		for _, name := range []string{"verify.coverage", "verify.journal"} {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(b), 0o600))
		}
		s := open(t, dir)
		if len(s.records) != 0 {
			t.Errorf("%q: %v", b, s.records)
		}
		must(t, s.Add(record("a", 10)))
		must(t, s.Close())
		if read(open(t, dir), "a") != 10 {
			t.Errorf("%q: what was added is lost", b)
		}
	}
}
