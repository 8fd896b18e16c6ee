package doctor

import (
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
)

// entries are a listing, of names whose é is in the given form.
func entries(names ...string) []proto.ProbeEntry {
	var list []proto.ProbeEntry
	for i, n := range names {
		list = append(list, proto.ProbeEntry{Name: []byte(n), Listed: true, Inode: uint64(i + 1), Links: 1, Time: proto.ProbeTime})
	}
	return list
}

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// A host whose file system decomposes names, as HFS+ does, and a guest that
// composes those it is given.
func TestNamesThatChange(t *testing.T) {
	h := &hostView{time: proto.ProbeTime, names: set("guest-composed-e\u0301", "guest-decomposed-e\u0301"), findsNFC: true, findsNFD: true}
	first := &proto.FolderProbe{Stable: true, Set: proto.ProbeTime, Got: proto.ProbeTime.Truncate(time.Microsecond),
		Entries: entries("composed-e\u0301", "something else")}
	f := compare(h, first, &proto.FolderProbe{Stable: true})
	if f.NFCToGuest != converted || f.NFDToGuest != lost || f.NFCToHost != converted || f.NFDToHost != kept {
		t.Errorf("%+v", f)
	}
	// The name of the file with the time is another on this machine.
	if f.TimeToHost != time.Microsecond {
		t.Errorf("time %s", f.TimeToHost)
	}
	c := f.names()
	if c.Status != Warning {
		t.Errorf("%+v", c)
	}
	for _, s := range []string{"sees composed names (NFC) of this machine in the other form", "sees decomposed names (NFD) of this machine changed",
		"this machine sees composed names (NFC) of the guest in the other form", "by the other form on this machine: yes, in the guest: no"} {
		if !strings.Contains(c.Text, s) {
			t.Errorf("no %q in %q", s, c.Text)
		}
	}
	if strings.Contains(c.Text, "decomposed names (NFD) of the guest") {
		t.Errorf("it names what is kept: %q", c.Text)
	}
}

// Inode numbers that change between two looks, or at a renaming.
func TestInodes(t *testing.T) {
	at := func(name string, inode uint64) proto.ProbeEntry {
		return proto.ProbeEntry{Name: []byte(name), Listed: true, Inode: inode}
	}
	for _, c := range []struct {
		name         string
		stable       bool
		second       []proto.ProbeEntry
		stays, keeps bool
	}{
		{"same", true, []proto.ProbeEntry{at("time", 1), at(proto.ProbeNew, 2)}, true, true},
		{"renamed", true, []proto.ProbeEntry{at("time", 1), at(proto.ProbeNew, 9)}, true, false},
		{"later", true, []proto.ProbeEntry{at("time", 7), at(proto.ProbeNew, 2)}, false, true},
		{"at once", false, []proto.ProbeEntry{at("time", 1), at(proto.ProbeNew, 2)}, false, true},
	} {
		first := &proto.FolderProbe{Stable: true, Entries: []proto.ProbeEntry{at("time", 1), at(proto.ProbeOld, 2)}}
		f := compare(&hostView{}, first, &proto.FolderProbe{Stable: c.stable, Entries: c.second})
		if f.InodesStable != c.stays || f.InodesKept != c.keeps {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

func TestResolution(t *testing.T) {
	for _, c := range []struct {
		got  time.Time
		want time.Duration
	}{
		{proto.ProbeTime, 1},
		{proto.ProbeTime.Truncate(100), 100}, // NTFS, and some servers
		{proto.ProbeTime.Truncate(time.Microsecond), time.Microsecond},
		{proto.ProbeTime.Truncate(time.Second), time.Second},
		{proto.ProbeTime.Truncate(2 * time.Second), 2 * time.Second}, // FAT
		{proto.ProbeTime.Add(time.Hour), 0},
		{time.Time{}, 0},
	} {
		if got := resolution(proto.ProbeTime, c.got); got != c.want {
			t.Errorf("%s: %s, want %s", c.got, got, c.want)
		}
	}
}

// A file name can neither add a line to the report nor steer the terminal.
func TestLine(t *testing.T) {
	for in, want := range map[string]string{"a\nb\r\nc": "a b c", "plain é": "plain é", "\x1b[2J": `"\x1b[2J"`, "\xff": `"\xff"`} {
		if got := line(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
