package doctor

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"fuseless/guest/proto"
	"fuseless/templates"
)

// probePrefix begins the name of a probe folder.
const probePrefix = ".fuseless-probe-"

// mount looks at what the way between host and guest does to files, in a
// folder that both may write to.
func (d *doctor) mount(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	if !d.local() && d.Config.VM.RestoreDir == "" {
		d.add(Check{Group: Mount, Name: "probe", Status: Skipped, Text: "no folder is shared for writing; set `vm.restore`"})
		return
	}
	facts, err := d.probeFolder(ctx)
	if err != nil {
		c := failed(Check{Group: Mount, Name: "probe"}, err)
		if proto.CodeOf(err) == proto.Internal {
			c.Code = proto.Mount
		}
		d.add(c)
		return
	}
	d.report.Mount = facts
	for _, c := range facts.checks() {
		d.add(c)
	}
}

// probeFolder makes the folder, asks the guest about it, twice, and removes it.
func (d *doctor) probeFolder(ctx context.Context) (*MountFacts, error) {
	parent := os.TempDir()
	if !d.local() {
		parent = d.Config.VM.RestoreDir
		removeOld(parent)
	}
	dir, err := os.MkdirTemp(parent, probePrefix)
	if err != nil {
		return nil, proto.Errorf(proto.Mount, "cannot make a folder to try in: %w", err).WithHint("check that you may write to %s", parent)
	}
	defer os.RemoveAll(dir)
	guestDir := dir
	if !d.local() {
		guestDir = path.Join(templates.RestorePoint, filepath.Base(dir))
	}
	h, err := makeFiles(dir)
	if err != nil {
		return nil, proto.Errorf(proto.Mount, "cannot make files to try with: %w", err)
	}
	vault := d.Vaults[0].Name
	first, err := d.folder(ctx, vault, proto.ProbeOptions{Folder: guestDir})
	if err != nil {
		return nil, err
	}
	if err := h.look(dir); err != nil {
		return nil, proto.Errorf(proto.Mount, "look at what the guest made: %w", err)
	}
	if err := os.Rename(filepath.Join(dir, proto.ProbeOld), filepath.Join(dir, proto.ProbeNew)); err != nil {
		return nil, proto.Errorf(proto.Mount, "%w", err)
	}
	second, err := d.folder(ctx, vault, proto.ProbeOptions{Folder: guestDir, Again: true})
	if err != nil {
		return nil, err
	}
	return compare(h, first, second), nil
}

// folder asks the guest about a folder.
func (d *doctor) folder(ctx context.Context, vault string, o proto.ProbeOptions) (*proto.FolderProbe, error) {
	p, err := d.ask(ctx, vault, o)
	switch {
	case err != nil:
		return nil, err
	case p.Folder == nil:
		return nil, proto.Errorf(proto.Internal, "the guest says nothing about the folder")
	case p.Folder.Error != nil:
		return nil, proto.Errorf(proto.Mount, "the guest cannot look at what this machine makes: %s", because(p.Folder.Error)).
			WithHint("`fuseless down`, then `fuseless up`")
	}
	return p.Folder, nil
}

// removeOld removes the probe folders of killed runs.
func removeOld(parent string) {
	old, _ := filepath.Glob(filepath.Join(parent, probePrefix+"*"))
	for _, o := range old {
		if fi, err := os.Lstat(o); err == nil && fi.IsDir() && time.Since(fi.ModTime()) > time.Hour {
			_ = os.RemoveAll(o)
		}
	}
}

// hostView is what this machine sees of the folder by itself: its own file
// system may change names and times, too, and that is not the way's doing.
type hostView struct {
	time                          time.Time       // of proto.ProbeTimed
	links                         bool            // it has hard links
	names                         map[string]bool // after the guest made its files
	findsNFC, findsNFD, findsCase bool
	guestTime                     time.Time // of proto.ProbeMadeNFC
}

func makeFiles(dir string) (*hostView, error) {
	h := &hostView{}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, n := range []string{proto.ProbeNFC, proto.ProbeNFD, proto.ProbeCase, proto.ProbeTimed, proto.ProbeLink, proto.ProbeOld} {
		if err := os.WriteFile(at(n), []byte("fuseless\n"), 0o600); err != nil {
			return nil, err
		}
	}
	h.links = os.Link(at(proto.ProbeLink), at(proto.ProbeLinked)) == nil
	if err := os.Chtimes(at(proto.ProbeTimed), proto.ProbeTime, proto.ProbeTime); err != nil {
		return nil, err
	}
	fi, err := os.Lstat(at(proto.ProbeTimed))
	if err != nil {
		return nil, err
	}
	h.time = fi.ModTime().UTC()
	there := func(name string) bool { _, err := os.Lstat(at(name)); return err == nil }
	h.findsNFC, h.findsNFD, h.findsCase = there(proto.ProbeNFCOther), there(proto.ProbeNFDOther), there(proto.ProbeCaseOther)
	return h, nil
}

// look lists what is in the folder after the guest made its files.
func (h *hostView) look(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	h.names = map[string]bool{}
	for _, e := range entries {
		h.names[e.Name()] = true
	}
	if fi, err := os.Lstat(filepath.Join(dir, proto.ProbeMadeNFC)); err == nil {
		h.guestTime = fi.ModTime().UTC()
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// compare makes facts of what both sides see.
func compare(h *hostView, first, second *proto.FolderProbe) *MountFacts {
	listed := func(name string) bool { e := first.Entry(name); return e != nil && e.Listed }
	inHost := func(name string) bool { return h.names[name] }
	f := &MountFacts{
		NFCToGuest: fate(listed, proto.ProbeNFC, proto.ProbeNFCOther),
		NFDToGuest: fate(listed, proto.ProbeNFD, proto.ProbeNFDOther),
		FormsHost:  h.findsNFC && h.findsNFD, FormsGuest: first.FindsNFC && first.FindsNFD,
		CaseHost: h.findsCase, CaseGuest: first.FindsCase,
		InodesStable: first.Stable && second.Stable,
	}
	if first.WriteError != nil {
		f.WriteError = because(first.WriteError)
	} else {
		f.NFCToHost = fate(inHost, proto.ProbeMadeNFC, otherForm(proto.ProbeMadeNFC))
		f.NFDToHost = fate(inHost, proto.ProbeMadeNFD, otherForm(proto.ProbeMadeNFD))
		f.TimeToHost = resolution(first.Set, h.guestTime)
		if f.TimeToHost == 0 { // the name may be another on the host
			f.TimeToHost = resolution(first.Set, first.Got)
		}
	}
	if e := first.Entry(proto.ProbeTimed); e != nil {
		f.TimeToGuest = resolution(h.time, e.Time)
	}
	if a, b := first.Entry(proto.ProbeOld), second.Entry(proto.ProbeNew); a != nil && b != nil {
		f.InodesKept = a.Inode == b.Inode
		f.ListingFresh = b.Listed && second.Entry(proto.ProbeOld) == nil
	}
	for _, e := range first.Entries { // those that nobody touched
		if n := second.Entry(string(e.Name)); n != nil && n.Inode != e.Inode {
			f.InodesStable = false
		}
	}
	a, b := first.Entry(proto.ProbeLink), first.Entry(proto.ProbeLinked)
	f.HardLinksHost = h.links
	f.HardLinks = a != nil && b != nil && a.Links == 2 && b.Links == 2 && a.Inode == b.Inode
	return f
}

// otherForm is a name with é in its other form.
func otherForm(name string) string {
	if strings.Contains(name, "\u00e9") {
		return strings.ReplaceAll(name, "\u00e9", "e\u0301")
	}
	return strings.ReplaceAll(name, "e\u0301", "\u00e9")
}

// fate is what became of a name.
func fate(there func(string) bool, name, other string) string {
	switch {
	case there(name):
		return kept
	case there(other):
		return converted
	}
	return lost
}

// resolution is the unit to which got agrees with want; 0 if it does not.
func resolution(want, got time.Time) time.Duration {
	for _, unit := range []time.Duration{1, 100, time.Microsecond, time.Millisecond, 10 * time.Millisecond, time.Second, 2 * time.Second} {
		if !got.IsZero() && want.Truncate(unit).Equal(got) {
			return unit
		}
	}
	return 0
}

func unit(d time.Duration) string {
	switch d {
	case 1:
		return "the nanosecond"
	case time.Second:
		return "the second"
	}
	return d.String()
}
