// Package rsync runs rsync and reads what it says.
package rsync

import (
	"context"
	"errors"
	"strings"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// PartialDir is the folder in which rsync keeps what arrived of a file when
// the connection broke. rsync itself protects it from deletion.
const PartialDir = ".fuseless-partial"

// Run is one run of rsync.
type Run struct {
	Source string // with a trailing slash: the contents
	Target string

	// Dial is the program that reaches the remote side, and Remote its unix
	// socket. Both are empty for a local run.
	Dial, Socket string

	BackupDir string   // replaced and deleted files go here; relative to Target, or absolute
	Delete    bool     // delete what the source does not have ...
	MaxDelete int      // ... but no more than this; -1 for no limit
	Force     bool     // a folder may be replaced by a file of that name
	Checksum  bool     // compare contents
	DryRun    bool     // change nothing
	Existing  bool     // never touch what exists (--ignore-existing)
	Filters   []string // filter rules, in order
	Prune     bool     // leave out folders that would be empty (--prune-empty-dirs)

	OmitDirTimes bool // leave the times of folders alone

	// Explain turns what ssh said into an error; nil for a local run.
	Explain func(stderr string, exit int) *proto.Error

	OnProgress func(proto.Progress)
	OnChange   func(what, path string) // rsync's %i, and the path
}

// Exit codes of rsync that are handled (rsync(1)).
const (
	exitNoSpace    = 11 // error in file I/O: on the receiving side most often a full disk
	ExitPartial    = 23 // some files could not be transferred
	ExitVanished   = 24 // some files vanished before they could be transferred
	ExitMaxDelete  = 25 // --max-delete stopped deletions
	exitProtocol   = 12
	exitTimeout    = 30
	exitConnection = 255
)

// Result is what a run did.
type Result struct {
	Stats   Stats
	Code    int      // 0, ExitPartial, ExitVanished or ExitMaxDelete
	Errors  []string // lines of standard error
	Kept    int64    // what was there already and was left alone, with Existing
	Skipped bool     // --max-delete kept something from being deleted
}

// Argv is the command line. The options, each with its reason:
//
//	--archive --hard-links   everything that a reverse view shows
//	--no-specials --no-devices  a reverse view cannot carry them
//	--numeric-ids            names of users may mean others on the remote
//	--modify-window=-1       compare times to the nanosecond: a change of the
//	                         same size within one second is a change
//	--partial-dir            a broken transfer resumes
//	--timeout                a dead link ends the run
func (r Run) Argv() []string {
	argv := []string{
		"rsync", "--archive", "--hard-links", "--no-specials", "--no-devices", "--numeric-ids", "--modify-window=-1",
		"--partial-dir=" + PartialDir, "--timeout=300",
		"--itemize-changes", "--stats", "--no-human-readable", "--outbuf=L",
	}
	info := "--info=progress2"
	if r.Existing {
		info += ",skip1" // says what was there already
	}
	argv = append(argv, info)
	if r.Socket != "" {
		argv = append(argv, "--rsh="+r.Dial)
	}
	if r.BackupDir != "" {
		argv = append(argv, "--backup", "--backup-dir="+r.BackupDir)
	}
	if r.Delete {
		argv = append(argv, "--delete")
		if r.MaxDelete == 0 {
			argv = append(argv, "--max-delete=0")
		}
	}
	for _, o := range []struct {
		on   bool
		flag string
	}{
		{r.Force, "--force"}, {r.Checksum, "--checksum"}, {r.DryRun, "--dry-run"},
		{r.Existing, "--ignore-existing"}, {r.Prune, "--prune-empty-dirs"}, {r.OmitDirTimes, "--omit-dir-times"},
	} {
		if o.on {
			argv = append(argv, o.flag)
		}
	}
	for _, f := range r.Filters {
		argv = append(argv, "--filter="+f)
	}
	return append(argv, "--", r.Source, r.Target)
}

// Do runs rsync. The codes 23, 24 and 25 are no error here: they are in the
// result, and the caller decides. Every other failure is an error.
func (r Run) Do(ctx context.Context) (*Result, error) {
	res := &Result{}
	p := &parser{run: &r, stats: &res.Stats, kept: &res.Kept}
	var env []string
	if r.Socket != "" {
		env = append(env, "FUSELESS_REMOTE="+r.Socket)
	}
	var stderr lines
	err := proc.Run(ctx, proc.Cmd{Argv: r.Argv(), Env: env, Stdout: p, Stderr: &stderr})
	p.flush()
	res.Errors = stderr.all()
	if ctx.Err() != nil {
		return res, ctx.Err()
	}
	if err == nil {
		return res, nil
	}
	var x *proc.ExitError
	if !errors.As(err, &x) {
		return res, proto.Errorf(proto.Prerequisite, "cannot run rsync: %w", err).
			WithHint("install it: `apt-get install rsync`")
	}
	res.Code = x.Code
	for _, l := range res.Errors {
		res.Skipped = res.Skipped || strings.Contains(l, "--max-delete limit")
	}
	switch x.Code {
	case ExitPartial, ExitVanished, ExitMaxDelete:
		return res, r.full(res)
	}
	if err := r.full(res); err != nil {
		return res, err
	}
	return res, r.explain(res)
}

// full looks for a full disk among the messages: rsync reports it with several
// codes (11, 12, 23).
func (r Run) full(res *Result) error {
	for _, l := range res.Errors {
		if strings.Contains(l, "No space left on device") || strings.Contains(l, "Disk quota exceeded") {
			return proto.Errorf(proto.NoSpace, "no space left on the receiving side: %s", l).
				WithHint("make room and run it again; what has arrived is not sent again")
		}
	}
	return nil
}

func (r Run) explain(res *Result) error {
	if r.Explain != nil {
		if e := r.Explain(strings.Join(res.Errors, "\n"), res.Code); e != nil {
			return e
		}
	}
	say := strings.Join(res.Errors, "; ")
	switch res.Code {
	case exitTimeout:
		return proto.Errorf(proto.Remote, "the remote did not answer for 300 s").
			WithHint("run it again when the connection is back; what has arrived is not sent again")
	case exitConnection, exitProtocol, 10, 127:
		return proto.Errorf(proto.Remote, "the connection to the remote failed: %s", say).
			WithHint("check that ssh reaches it and that it has rsync; what has arrived is not sent again")
	case exitNoSpace:
		return proto.Errorf(proto.NoSpace, "rsync could not write: %s", say)
	}
	return proto.Errorf(proto.Internal, "rsync failed with code %d: %s", res.Code, say)
}

// Conflicts returns the paths at which a folder on the receiving side stands
// in the way of something that is not a folder, which --max-delete=0 keeps from
// being replaced. only tells whether these are the only errors of the run.
func (res *Result) Conflicts() (paths []string, only bool) {
	only = true
	for _, l := range res.Errors {
		switch {
		case strings.HasPrefix(l, "could not make way for "):
			if _, p, ok := strings.Cut(l, ": "); ok {
				paths = append(paths, p)
			}
		case strings.HasPrefix(l, "cannot delete non-empty directory: "),
			strings.HasPrefix(l, "Deletions stopped due to --max-delete limit"),
			strings.HasPrefix(l, "rsync error: "):
		default:
			only = false
		}
	}
	return paths, only
}
