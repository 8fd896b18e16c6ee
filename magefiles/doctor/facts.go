package doctor

import (
	"fmt"
	"time"
)

// What became of a name on its way; the values of MountFacts' NFC and NFD fields.
const (
	kept      = "kept"
	converted = "converted" // it has the other normalization form
	lost      = "lost"
)

// MountFacts is what the way between host and guest does to files: nobody
// documents it for virtiofs and reverse-sshfs, and versions differ. In
// `guest: local` it is what the temporary folder's file system does.
type MountFacts struct {
	NFCToGuest string `json:"nfcToGuest"` // a composed name of the host's, as the guest lists it
	NFDToGuest string `json:"nfdToGuest"` // a decomposed one
	NFCToHost  string `json:"nfcToHost"`  // a composed name of the guest's, as the host lists it
	NFDToHost  string `json:"nfdToHost"`
	FormsHost  bool   `json:"formsHost"`  // the host finds a file by the other form of its name
	FormsGuest bool   `json:"formsGuest"` // the guest does, in the host's folder
	CaseHost   bool   `json:"caseHost"`   // the host finds a file by another case of its name
	CaseGuest  bool   `json:"caseGuest"`

	TimeToGuest time.Duration `json:"timeToGuestNs"` // resolution of modification times; 0: they do not arrive
	TimeToHost  time.Duration `json:"timeToHostNs"`

	InodesStable  bool   `json:"inodesStable"` // inode numbers stay the same while nobody touches the files
	InodesKept    bool   `json:"inodesKept"`   // and when the host renames a file
	ListingFresh  bool   `json:"listingFresh"` // the guest lists the new name at once
	HardLinksHost bool   `json:"hardLinksHost"`
	HardLinks     bool   `json:"hardLinks"`            // the guest sees that two names are one file
	WriteError    string `json:"writeError,omitempty"` // why the guest cannot write, as a restore would
}

// checks are the facts as lines of the report. Nobody can mend most of them;
// a warning is what changes a backup, or a restore.
func (f *MountFacts) checks() []Check {
	return []Check{f.write(), f.names(), f.letters(), f.times(), f.listing(), f.inodes(), f.links()}
}

func (f *MountFacts) write() Check {
	if f.WriteError != "" {
		return Check{Group: Mount, Name: "writing", Status: Warning, Text: "the guest cannot write here: " + f.WriteError + "; a restore could not, either"}
	}
	return Check{Group: Mount, Name: "writing", Status: OK, Text: "the guest can write what is restored"}
}

func (f *MountFacts) names() Check {
	c := Check{Group: Mount, Name: "names", Status: OK, Text: "composed (NFC) and decomposed (NFD) accents arrive as they are"}
	var odd string
	for _, n := range []struct{ fate, what string }{
		{f.NFCToGuest, "the guest sees composed names (NFC) of this machine"}, {f.NFDToGuest, "the guest sees decomposed names (NFD) of this machine"},
		{f.NFCToHost, "this machine sees composed names (NFC) of the guest"}, {f.NFDToHost, "this machine sees decomposed names (NFD) of the guest"},
	} {
		switch n.fate {
		case converted:
			odd += n.what + " in the other form; "
		case lost:
			odd += n.what + " changed, or not at all; "
		}
	}
	if odd != "" {
		c.Status, c.Text = Warning, odd+"the backup has the names that the guest sees"
	}
	if f.FormsHost != f.FormsGuest {
		c.Text += fmt.Sprintf("; a file is found by the other form on this machine: %s, in the guest: %s", yes(f.FormsHost), yes(f.FormsGuest))
	}
	return c
}

func (f *MountFacts) letters() Check {
	c := Check{Group: Mount, Name: "case", Status: OK}
	switch {
	case f.CaseHost && f.CaseGuest:
		c.Text = "A and a are the same name, on both sides"
	case f.CaseHost:
		c.Text = "A and a are the same name on this machine, but not in the guest"
	case f.CaseGuest:
		c.Status, c.Text = Warning, "A and a are two names on this machine, and one in the guest: of two such files a backup has one"
	default:
		c.Text = "A and a are two names, on both sides"
	}
	return c
}

func (f *MountFacts) times() Check {
	c := Check{Group: Mount, Name: "times", Status: OK, Text: "to " + unit(f.TimeToGuest)}
	switch {
	case f.TimeToGuest == 0:
		c.Status, c.Text = Warning, "the guest sees other times of modification than this machine"
	case f.TimeToGuest >= time.Second:
		c.Status, c.Mend = Warning, "`fuseless backup -checksum` now and then finds it"
		c.Text += ": a file that changes twice within " + f.TimeToGuest.String() + " and keeps its size may not be sent again"
	}
	if f.WriteError == "" && f.TimeToHost != f.TimeToGuest {
		back := "to " + unit(f.TimeToHost)
		if f.TimeToHost == 0 {
			back = "not at all"
		}
		c.Text += "; those that the guest sets arrive " + back
	}
	return c
}

func (f *MountFacts) listing() Check {
	c := Check{Group: Mount, Name: "listings", Status: OK, Text: "the guest sees at once what changes on this machine"}
	if !f.ListingFresh {
		c.Text = "the guest sees a new name on this machine only after a while: its listings are kept for some seconds"
	}
	return c
}

func (f *MountFacts) inodes() Check {
	c := Check{Group: Mount, Name: "inodes", Status: OK, Text: "file numbers stay, also when a file is renamed"}
	switch {
	case !f.InodesStable:
		c.Status, c.Text = Warning, "file numbers change while nobody touches the files: hard links may be taken for separate files, or separate files for hard links"
	case !f.InodesKept:
		c.Text = "file numbers stay, until a file is renamed"
	}
	return c
}

func (f *MountFacts) links() Check {
	c := Check{Group: Mount, Name: "hard links", Status: OK, Text: "are seen as such"}
	switch {
	case !f.HardLinksHost:
		c.Status, c.Text = Skipped, "this machine cannot make any here"
	case !f.HardLinks:
		c.Status, c.Text = Warning, "are seen as separate files: each is sent, and restored as a file of its own"
	}
	return c
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
