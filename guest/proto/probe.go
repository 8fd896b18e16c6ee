package proto

import (
	"errors"
	"time"
)

// ProbeOptions say what `probe` looks at besides the guest's clock, kernel,
// FUSE and disk. Each costs time, so each is asked for by itself.
type ProbeOptions struct {
	Programs bool     `json:"programs,omitempty"` // ask the programs for their versions
	Sources  []string `json:"sources,omitempty"`  // folders, as the guest sees them: read one file of each
	Remote   bool     `json:"remote,omitempty"`   // look at the request's destination
	Folder   string   `json:"folder,omitempty"`   // as the guest sees it: a folder with the files named below
	Again    bool     `json:"again,omitempty"`    // only list Folder: it was probed, and the host has renamed a file since
}

// The files that the host makes in a probe folder, which show what a mount does
// to names, times and links. The letter é is U+00E9 when composed (NFC), and e
// with U+0301 when decomposed (NFD; Unicode Standard Annex #15). macOS finds
// either by the other.
const (
	ProbeNFC    = "composed-\u00e9"
	ProbeNFD    = "decomposed-e\u0301"
	ProbeCase   = "MixedCase"
	ProbeTimed  = "time" // ProbeTime is its time of modification
	ProbeLink   = "link" // ProbeLinked is a hard link to it
	ProbeLinked = "linked"
	ProbeOld    = "old-name" // the host renames it to ProbeNew between two probes
	ProbeNew    = "new-name"

	// These two the guest makes.
	ProbeMadeNFC = "guest-composed-\u00e9"
	ProbeMadeNFD = "guest-decomposed-e\u0301"
)

// The names by which the guest looks for ProbeNFC, ProbeNFD and ProbeCase.
const (
	ProbeNFCOther  = "composed-e\u0301"
	ProbeNFDOther  = "decomposed-\u00e9"
	ProbeCaseOther = "mIXEDcASE"
)

// ProbeTime has a digit at each place down to the nanosecond, all different
// from 0, and lies years back so that nobody's present is mistaken for it.
var ProbeTime = time.Date(2019, 8, 7, 6, 5, 43, 123456789, time.UTC)

// ProbeResult is what the guest knows of itself and of what it was asked to
// look at.
type ProbeResult struct {
	Clock    time.Time      `json:"clock"` // of the guest, when the request came; UTC
	Kernel   string         `json:"kernel"`
	Free     int64          `json:"free"`               // bytes on the disk of the state folder; -1: unknown
	Fuse     string         `json:"fuse,omitempty"`     // why /dev/fuse cannot be used; empty: it can
	Server   *ServerStatus  `json:"server,omitempty"`   // of the request's vault
	Programs []ProgramProbe `json:"programs,omitempty"` // in a fixed order
	Sources  []SourceProbe  `json:"sources,omitempty"`  // in the order of the request
	Remote   *RemoteProbe   `json:"remote,omitempty"`   // if it was asked for
	Folder   *FolderProbe   `json:"folder,omitempty"`   // if it was asked for
}

// ProgramProbe is a program of the guest.
type ProgramProbe struct {
	Name   string `json:"name"`
	Path   string `json:"path,omitempty"`   // empty: it is missing
	Output string `json:"output,omitempty"` // what it prints when asked for its version
}

// ProbeError is a failure of one thing that was looked at, which does not end
// the request.
type ProbeError struct {
	Code  Code   `json:"code"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
	Errno string `json:"errno,omitempty"` // such as EPERM; empty: the kernel did not say it
	Path  []byte `json:"path,omitempty"`  // relative to what was looked at; bytes, since names need not be UTF-8
}

// NewProbeError is err as a part of an answer; code is for an error that has
// none of its own.
func NewProbeError(code Code, err error) *ProbeError {
	var e *Error
	if errors.As(err, &e) {
		return &ProbeError{Code: e.Code, Text: e.Message, Hint: e.Hint}
	}
	return &ProbeError{Code: code, Text: err.Error()}
}

// SourceProbe is what the guest sees of a source. Nothing of a file's content is in it.
type SourceProbe struct {
	Path     string      `json:"path"`
	Mount    string      `json:"mount,omitempty"` // type of the file system that is mounted here; empty: none is
	ReadOnly bool        `json:"readOnly"`        // that mount is read-only
	Entries  int64       `json:"entries"`         // that were looked at before a file was read
	File     []byte      `json:"file,omitempty"`  // relative path of the file of which a byte was read
	Limit    bool        `json:"limit,omitempty"` // no file was found within the limits, and there may be some beyond
	Failed   int64       `json:"failed"`          // files and folders that could not be read
	Error    *ProbeError `json:"error,omitempty"` // the first of these failures
}

// RemoteProbe is what the guest sees of the destination.
type RemoteProbe struct {
	Error      *ProbeError `json:"error,omitempty"` // it cannot be reached, or not by sftp
	Exists     bool        `json:"exists"`          // the vault's folder is there
	Vault      bool        `json:"vault"`           // and holds a vault
	Free       int64       `json:"free"`            // bytes; -1: the server does not tell
	Rsync      int         `json:"rsync,omitempty"` // version of the protocol that its rsync speaks; 0: not asked
	RsyncError *ProbeError `json:"rsyncError,omitempty"`
}

// FolderProbe is what the guest sees of a probe folder.
type FolderProbe struct {
	Error   *ProbeError  `json:"error,omitempty"`
	Entries []ProbeEntry `json:"entries,omitempty"`
	Stable  bool         `json:"stable"` // inode numbers stayed the same over a second listing

	FindsNFC  bool `json:"findsNFC"`  // ProbeNFC, by ProbeNFCOther
	FindsNFD  bool `json:"findsNFD"`  // ProbeNFD, by ProbeNFDOther
	FindsCase bool `json:"findsCase"` // ProbeCase, by ProbeCaseOther

	WriteError *ProbeError `json:"writeError,omitempty"` // the guest could not make its files
	Set        time.Time   `json:"set,omitzero"`         // time that the guest gave ProbeMadeNFC
	Got        time.Time   `json:"got,omitzero"`         // and the time that it then had
}

// ProbeEntry is a file of a probe folder.
type ProbeEntry struct {
	Name   []byte    `json:"name"`
	Listed bool      `json:"listed"` // by the folder; else it was only found by its name
	Inode  uint64    `json:"inode"`
	Links  uint64    `json:"links"`
	Time   time.Time `json:"time"` // of modification
}

// Entry is the entry called name, or nil.
func (f *FolderProbe) Entry(name string) *ProbeEntry {
	for i := range f.Entries {
		if string(f.Entries[i].Name) == name {
			return &f.Entries[i]
		}
	}
	return nil
}
