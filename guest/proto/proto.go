// Package proto is how the host speaks to fuseless-guest: one request (a line
// of JSON on standard input), a stream of events (lines of JSON on standard
// output), one exit code. Closing standard input, or SIGTERM, cancels the
// request and cleans up.
package proto

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Version is the version of the protocol. A guest refuses any other.
const Version = 1

// MaxRequest bounds the request line, in bytes.
const MaxRequest = 1 << 20

// Op names what the guest is asked to do.
type Op string

// The operations.
const (
	OpInit     Op = "init"     // make a new configuration, in a temporary folder; with Writable, the vault itself
	OpLook     Op = "look"     // look at the destination: is there a vault, and its configuration
	OpBackup   Op = "backup"   // source -> destination
	OpRestore  Op = "restore"  // destination -> folder
	OpMount    Op = "mount"    // remote and view
	OpUnmount  Op = "unmount"  // the reverse
	OpServe    Op = "serve"    // WebDAV server on the view
	OpUnserve  Op = "unserve"  // the reverse
	OpStatus   Op = "status"   // what is mounted and served
	OpSession  Op = "session"  // the running server's address and secret
	OpTeardown Op = "teardown" // everything of this vault off, whatever state it is in
	OpProbe    Op = "probe"    // what doctor wants to know of the guest
	OpTrash    Op = "trash"    // what lies in the trash
)

// Request is what the host asks for. Secrets are fields of it, so that they
// travel on standard input.
type Request struct {
	Protocol int    `json:"protocol"`
	Op       Op     `json:"op"`
	Instance string `json:"instance"` // tells configurations of one user apart: [0-9a-f]+
	Vault    string `json:"vault"`

	Passphrase  Secret      `json:"passphrase,omitempty"`
	Source      string      `json:"source,omitempty"`
	Mounted     bool        `json:"mounted,omitempty"` // Source is a mount point of the VM: without its mount it is not the source
	Destination Destination `json:"destination"`
	Exclude     []string    `json:"exclude,omitempty"` // gitignore patterns on plaintext names
	Port        int         `json:"port,omitempty"`

	Writable       bool `json:"writable,omitempty"`       // the view can be written to
	RefuseMacNoise bool `json:"refuseMacNoise,omitempty"` // and the server refuses ._* and .DS_Store

	Backup  BackupOptions  `json:"backup"`
	Restore RestoreOptions `json:"restore"`
	Probe   ProbeOptions   `json:"probe,omitzero"`
	Verify  VerifyOptions  `json:"verify,omitzero"`
	Key     KeyOptions     `json:"key,omitzero"`
	Trash   TrashOptions   `json:"trash,omitzero"`
}

// Destination is where the vault lies.
type Destination struct {
	Label  string `json:"label"`            // as the user wrote it, for messages
	Path   string `json:"path"`             // on the remote: absolute, or relative to the login folder
	Local  bool   `json:"local,omitempty"`  // Path is a folder of the guest itself
	Target string `json:"target,omitempty"` // user@host, for messages and hints
	SSH    string `json:"ssh,omitempty"`    // the ssh command that a person would type, for hints
	Socket string `json:"socket,omitempty"` // unix socket of the host's bridge, as the guest sees it
	Trash  string `json:"trash"`            // folder for what is deleted or replaced, beside Path
}

// BackupOptions are what `backup` can be told.
type BackupOptions struct {
	DryRun      bool   `json:"dryRun,omitempty"`
	Checksum    bool   `json:"checksum,omitempty"`    // compare contents, not only size and time
	AllowDelete bool   `json:"allowDelete,omitempty"` // deletions above the limit are wanted
	MaxDelete   int64  `json:"maxDelete,omitempty"`   // with AllowDelete: no more than a person was shown; 0: any number, but never all
	KeepDays    int    `json:"keepDays"`              // age at which a trash folder is removed; 0: never
	Config      []byte `json:"config"`                // the source's .gocryptfs.reverse.conf
	Known       bool   `json:"known,omitempty"`       // this configuration was on this destination after the last run
	Settled     bool   `json:"settled,omitempty"`     // and that one ended well, with gocryptfs's own files as they should be

	Last        []byte    `json:"last,omitempty"`       // the configuration that the last backup left on this destination; empty: none is known
	LastSuccess time.Time `json:"lastSuccess,omitzero"` // by this machine's clock
	Changes     bool      `json:"changes,omitempty"`    // emit an event for each changed file
}

// RestoreOptions are what `restore` can be told.
type RestoreOptions struct {
	To   string `json:"to"`   // folder to restore into
	Only string `json:"only"` // gitignore-like pattern on plaintext paths; empty: everything

	From *TrashPick `json:"from,omitempty"` // read this entry of the trash instead of the vault

	Mount string `json:"mount,omitempty"` // a mount point of the VM that To lies below: without its mount, To is a folder of the VM
}

// Secret is a string that does not print itself.
type Secret string

func (Secret) String() string   { return "[secret]" }
func (Secret) GoString() string { return "[secret]" }

// ReadRequest reads one request line from r, byte by byte so that nothing
// behind it is consumed.
func ReadRequest(r io.Reader) (*Request, error) {
	var line []byte
	b := make([]byte, 1)
	for {
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, Errorf(Internal, "read request: %w", err)
		}
		if b[0] == '\n' {
			break
		}
		if line = append(line, b[0]); len(line) > MaxRequest {
			return nil, Errorf(Internal, "request exceeds %d bytes", MaxRequest)
		}
	}
	var req Request
	if err := json.Unmarshal(line, &req); err != nil {
		// The error of encoding/json may quote the input, which holds secrets.
		return nil, Errorf(Internal, "request is not valid JSON")
	}
	if req.Protocol != Version {
		return nil, Errorf(Internal, "the host speaks protocol %d, this guest %d", req.Protocol, Version).
			WithHint("install one version of fuseless on both sides: run `fuseless install` again")
	}
	return &req, nil
}

// Kind tells what an event says.
type Kind string

// The kinds of event.
const (
	KindStep      Kind = "step"      // Step begins, or with Done ends
	KindProgress  Kind = "progress"  // Progress of a transfer
	KindChange    Kind = "change"    // one file changed
	KindWarning   Kind = "warning"   // Text is for the user
	KindNote      Kind = "note"      // Text is for the user, of no concern
	KindConfig    Kind = "config"    // Data is a vault's configuration
	KindMasterKey Kind = "masterKey" // Data is the master key: show it once, on the terminal only
	KindResult    Kind = "result"    // Backup, Restore, Status or Session
	KindError     Kind = "error"     // the last event of a failed request
)

// Step names a stage of an operation. Every step emits an event when it begins
// and when it is done.
type Step string

// The steps.
const (
	StepRepair     Step = "repair"      // take down what a killed run left
	StepConnect    Step = "connect"     // reach the destination, compare its configuration
	StepReverse    Step = "reverse"     // mount the encrypted image of the source
	StepTransfer   Step = "transfer"    // rsync
	StepVirtual    Step = "virtual"     // second pass over gocryptfs's own files (gocryptfs#802)
	StepCandidates Step = "candidates"  // list what the source no longer has
	StepSecondLook Step = "second look" // list it again, from a fresh mount
	StepDelete     Step = "delete"      // move it to the trash
	StepPrune      Step = "prune"       // remove old trash
	StepRemote     Step = "remote"      // mount the remote (sshfs)
	StepView       Step = "view"        // mount the decrypted view (gocryptfs)
	StepFetch      Step = "fetch"       // get the encrypted files
	StepDecrypt    Step = "decrypt"     // decrypt them into place
	StepServe      Step = "serve"       // start the WebDAV server
	StepUnserve    Step = "unserve"     // stop it
	StepUnmount    Step = "unmount"     // take mounts down
	StepInit       Step = "init"        // make a configuration
)

// Steps lists every step, for tests that stop a run at each of them.
var Steps = []Step{
	StepRepair, StepConnect, StepReverse, StepTransfer, StepVirtual, StepCandidates, StepSecondLook, StepDelete,
	StepPrune, StepRemote, StepView, StepFetch, StepDecrypt, StepServe, StepUnserve, StepUnmount, StepInit, StepKey, StepInstall,
	StepCompare, StepRead,
}

// Event is one line of the guest's standard output.
type Event struct {
	Kind Kind   `json:"kind"`
	Step Step   `json:"step,omitempty"`
	Done bool   `json:"done,omitempty"`
	Text string `json:"text,omitempty"`
	Data []byte `json:"data,omitempty"`

	Progress *Progress      `json:"progress,omitempty"`
	Change   *Change        `json:"change,omitempty"`
	Backup   *BackupResult  `json:"backup,omitempty"`
	Restore  *RestoreResult `json:"restore,omitempty"`
	Status   *Status        `json:"status,omitempty"`
	Session  *Session       `json:"session,omitempty"`
	Look     *Look          `json:"look,omitempty"`
	Probe    *ProbeResult   `json:"probe,omitempty"`
	Verify   *VerifyResult  `json:"verify,omitempty"`
	Damage   *Damage        `json:"damage,omitempty"`
	Key      *KeyResult     `json:"key,omitempty"`
	Trash    *TrashResult   `json:"trash,omitempty"`

	Code Code   `json:"code,omitempty"` // of an error
	Hint string `json:"hint,omitempty"` // of an error
}

// Progress of a transfer, as rsync's --info=progress2 reports it.
type Progress struct {
	Bytes   int64 `json:"bytes"`
	Percent int   `json:"percent"`
	Rate    int64 `json:"rate"` // bytes per second
	Left    int   `json:"left"` // seconds
	Files   int   `json:"files"`
}

// Change is one itemised change.
type Change struct {
	What string `json:"what"` // rsync's %i, or "*deleting"
	Path []byte `json:"path"` // plaintext path relative to the source; bytes, since names need not be UTF-8
}

// BackupResult is what a backup did. Sizes are in bytes of ciphertext.
type BackupResult struct {
	Files       int64         `json:"files"`             // in the image of the source, gocryptfs's own included
	Created     int64         `json:"created"`           // new on the remote
	Transferred int64         `json:"transferred"`       // regular files whose contents were sent, in whole or in part
	UserFiles   int64         `json:"userFiles"`         // of those, the user's and not gocryptfs's own
	Deleted     int64         `json:"deleted"`           // entries moved to the trash
	Emptied     bool          `json:"emptied,omitempty"` // the source has no files any more
	Held        int64         `json:"held"`              // entries that wait for consent to be deleted
	Doubtful    int64         `json:"doubtful"`          // entries that only one of the two looks missed; they were kept
	Bytes       int64         `json:"bytes"`             // total size
	Literal     int64         `json:"literal"`           // file data sent as such
	Sent        int64         `json:"sent"`              // all bytes sent
	Breaks      int64         `json:"breaks,omitempty"`  // how often the link broke; of what was sent before, only UserFiles tells
	Duration    time.Duration `json:"durationNs"`
	Trash       string        `json:"trash,omitempty"`
	DryRun      bool          `json:"dryRun,omitempty"`
	Incomplete  bool          `json:"incomplete,omitempty"`
	Compared    bool          `json:"compared,omitempty"` // gocryptfs's own files, from a mount of their own, and none differed
	Settled     bool          `json:"settled,omitempty"`  // they were not, as the vault was settled and this run sent none
	NotBackedUp []Omission    `json:"notBackedUp,omitempty"`
	GocryptfsV  string        `json:"gocryptfs"`
}

// Omission is something that a backup does not hold.
type Omission struct {
	What     string   `json:"what"`
	Count    int64    `json:"count"`
	Examples []string `json:"examples,omitempty"` // plaintext paths, at most five
	Fault    bool     `json:"fault,omitempty"`    // an error, not a property of the tools
}

// RestoreResult is what a restore did.
type RestoreResult struct {
	To       string        `json:"to"`
	Files    int64         `json:"files"`
	Bytes    int64         `json:"bytes"`
	Existing int64         `json:"existing"` // entries that were there already and were left as they are
	Reduced  bool          `json:"reduced"`  // through sshfs: times in whole seconds, hard links separate
	Duration time.Duration `json:"durationNs"`
}

// Status is what the guest knows of a vault.
type Status struct {
	Remote  *MountStatus  `json:"remote,omitempty"`
	View    *MountStatus  `json:"view,omitempty"`
	Server  *ServerStatus `json:"server,omitempty"`
	Strays  []string      `json:"strays,omitempty"` // mounts that a killed run left
	RunsDir string        `json:"runtimeDir"`
}

// MountStatus is a mount that is in the kernel's mount table.
type MountStatus struct {
	Path  string `json:"path"`
	Pid   int    `json:"pid,omitempty"`
	Alive bool   `json:"alive"` // its process lives

	Writable bool `json:"writable,omitempty"` // a view that can be written to
}

// ServerStatus is a running WebDAV server.
type ServerStatus struct {
	Address string `json:"address"`
	Pid     int    `json:"pid"`
}

// Session is what a client needs to reach the WebDAV server.
type Session struct {
	Address  string `json:"address"` // host:port in the guest
	User     string `json:"user"`
	Password Secret `json:"password"`
	Writable bool   `json:"writable,omitempty"`
}

// Look is what lies at the destination.
type Look struct {
	Exists bool   `json:"exists"`           // the folder exists
	Empty  bool   `json:"empty"`            // and holds nothing
	Config []byte `json:"config,omitempty"` // its gocryptfs.conf; empty if there is none, or none that could be used

	Names  []string `json:"-"` // what is in it; for the guest alone
	Damage error    `json:"-"` // what is wrong with its gocryptfs.conf, if there is one; for the guest alone
	Broken []byte   `json:"-"` // and that file
}

// Emitter writes events. It is not safe for concurrent use by itself.
type Emitter struct{ enc *json.Encoder }

// NewEmitter writes to w, a line for each event.
func NewEmitter(w io.Writer) *Emitter { return &Emitter{json.NewEncoder(w)} }

// Emit writes e.
func (e *Emitter) Emit(ev Event) error {
	if err := e.enc.Encode(ev); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}
