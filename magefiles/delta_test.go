//go:build linux

package main_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestDelta: what changed is sent, and little more.
func TestDelta(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const size = 64 << 20
	big := filepath.Join(l.source, "big")
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	must(t, os.WriteFile(big, data, 0o600))
	at := time.Date(2024, 5, 6, 7, 8, 9, 1000, time.UTC)
	l.write("note", "the first note")
	l.times("note", at)
	l.ok("init")
	l.ok("backup")
	if r := l.last(); r.Literal < size {
		t.Errorf("the first backup sent %d bytes of data", r.Literal)
	}

	f, err := os.OpenFile(big, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte{data[size/2] ^ 0xff}, size/2)
	must(t, err)
	must(t, f.Close())
	l.ok("backup")
	if r := l.last(); r.Transferred != 1 || r.Literal == 0 || r.Literal >= 1<<20 || r.Sent >= 2<<20 {
		t.Errorf("one byte in 64 MiB changed: %+v", r)
	}

	// The same size, the same second: only the nanoseconds tell.
	l.write("note", "another noteXX"[:len("the first note")])
	l.times("note", at.Add(time.Nanosecond))
	l.ok("backup")
	if r := l.last(); r.Transferred != 1 {
		t.Errorf("a change within one second: %+v", r)
	}

	// The same size and time altogether: only -checksum sees it, as documented.
	l.write("note", "a third note  ")
	l.times("note", at.Add(time.Nanosecond))
	l.ok("backup")
	if r := l.last(); r.Transferred != 0 {
		t.Errorf("nothing told that the note had changed: %+v", r)
	}
	l.ok("backup", "-checksum")
	if r := l.last(); r.Transferred != 1 {
		t.Errorf("-checksum: %+v", r)
	}
	l.sameAsSource()
	b, err := os.ReadFile(filepath.Join(l.dir, "restored", "note"))
	if err != nil || string(b) != "a third note  " {
		t.Errorf("the note came back as %q (%v)", b, err)
	}
	// Each earlier version is in the trash.
	old, err := filepath.Glob(filepath.Join(l.trash, "*", "*"))
	if err != nil || len(old) < 3 {
		t.Errorf("in the trash: %v (%v)", old, err)
	}
}
