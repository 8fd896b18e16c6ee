// Package rsync runs rsync and reads what it says.
package rsync

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

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

	Seconds     bool // compare times to the second: the source has no finer ones
	NoHardLinks bool // do not tell hard links by inode numbers: the source's may change
	NoLinkTimes bool // leave the times of symbolic links: the target cannot hold them

	DirTimes bool // only set the times of folders that exist on both sides

	// Compare leaves out what a comparison of names, sizes, times and targets does
	// not look at: owners, permissions, times of folders.
	Compare bool

	Timeout time.Duration // without a sign of life the run ends after this time; 0: Patience

	// Apart makes the other side complete partial files in copies: an rsync of
	// before may still write into them.
	Apart bool

	// Explain turns what ssh said into an error; nil for a local run.
	Explain func(stderr string, exit int) *proto.Error

	OnProgress func(proto.Progress)
	OnChange   func(what, path string) // rsync's %i, and the path
}

// Exit codes of rsync that are handled (rsync(1)).
const (
	exitSelect     = 3  // a folder at one of the ends cannot be entered
	exitFile       = 11 // error in file I/O
	ExitPartial    = 23 // some files could not be transferred
	ExitVanished   = 24 // some files vanished before they could be transferred
	ExitMaxDelete  = 25 // --max-delete stopped deletions
	exitSocket     = 10
	exitProtocol   = 12
	exitSignal     = 20 // the other side was told to end, as when it shuts down
	exitTimeout    = 30
	exitDaemon     = 35 // a timeout, too
	exitConnection = 255
)

// What a broken run looked like, beside proto.ErrLink.
var (
	ErrSilent = errors.New("no sign of life")              // Timeout passed
	ErrEnded  = errors.New("the other side's rsync ended") // and ssh has nothing to say about it
)

// Patience is how long a run waits for a sign of life, unless it says otherwise.
const Patience = 300 * time.Second

// Result is what a run did.
type Result struct {
	Stats  Stats
	Code   int      // 0, ExitPartial, ExitVanished or ExitMaxDelete
	Errors []string // lines of standard error, without those that Conflicts and Skipped tell
	// Conflicts are the paths at which a folder on the receiving side stands in
	// the way of something that is no folder, and --max-delete=0 kept it.
	Conflicts []string
	Kept      int64 // what was there already and was left alone, with Existing
	Skipped   bool  // --max-delete kept something from being deleted
}

// Argv is the command line. The options, each with its reason:
//
//	--archive --hard-links   everything that a reverse view shows
//	--no-specials --no-devices  a reverse view cannot carry them
//	--numeric-ids            names of users may mean others on the remote
//	--modify-window=-1       compare times to the nanosecond: a change of the
//	                         same size within one second is a change; to the
//	                         second where the source has no more, or all would be
//	                         sent again that a guest with finer times has sent
//	--partial-dir            a broken transfer resumes
//	--timeout                a dead link ends the run
func (r Run) Argv() []string {
	argv := []string{
		"rsync", "--archive", "--numeric-ids", r.window(),
		"--partial-dir=" + PartialDir, "--timeout=" + strconv.Itoa(int(r.patience().Seconds())),
		"--itemize-changes", "--stats", "--no-human-readable", "--outbuf=L",
	}
	if !r.Compare { // a comparison is to see them
		argv = append(argv, "--no-specials", "--no-devices")
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
		{!r.NoHardLinks, "--hard-links"},
		{r.Force, "--force"}, {r.Checksum, "--checksum"}, {r.DryRun, "--dry-run"},
		{r.Existing, "--ignore-existing"}, {r.NoLinkTimes, "--omit-link-times"}, {r.Prune, "--prune-empty-dirs"},
	} {
		if o.on {
			argv = append(argv, o.flag)
		}
	}
	if r.Compare {
		argv = append(argv, "--no-perms", "--no-owner", "--no-group", "--omit-dir-times")
	}
	if r.DirTimes {
		argv = append(argv, "--existing", "--filter=+ */", "--filter=- *")
	}
	for _, f := range r.Filters {
		argv = append(argv, "--filter="+f)
	}
	return append(argv, "--", r.Source, r.Target)
}

func (r Run) patience() time.Duration {
	if r.Timeout == 0 {
		return Patience
	}
	return r.Timeout
}

func (r Run) window() string {
	if r.Seconds {
		return "--modify-window=0"
	}
	return "--modify-window=-1"
}

// Do runs rsync. The codes 23, 24 and 25 are no error here: they are in the
// result, and the caller decides. Every other failure is an error; one that is
// the link's wraps proto.ErrLink.
func (r Run) Do(ctx context.Context) (*Result, error) {
	res := &Result{}
	p := &parser{run: &r, stats: &res.Stats, kept: &res.Kept}
	var env []string
	if r.Socket != "" {
		env = append(env, "FUSELESS_REMOTE="+r.Socket)
	}
	if r.Apart {
		env = append(env, "FUSELESS_APART=1")
	}
	var stderr messages
	err := proc.Run(ctx, proc.Cmd{Argv: r.Argv(), Env: env, Stdout: p, Stderr: &stderr})
	p.flush()
	stderr.end()
	res.Errors, res.Conflicts, res.Skipped = stderr.errors, stderr.conflicts, stderr.skipped
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
	res.Skipped = res.Skipped || x.Code == ExitMaxDelete
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
	disk, quota, hint := "the disk of "+r.Target+" is full", "the quota on the disk of "+r.Target+" is used up", "make room there"
	if r.Socket != "" && strings.Contains(r.Target, ":") {
		disk, quota, hint = "the remote's disk is full", "the remote's quota is used up", "make room there, as by removing old runs from the trash beside the vault,"
	}
	for _, l := range res.Errors {
		text := disk
		switch {
		case strings.Contains(l, "No space left on device"):
		case strings.Contains(l, "Disk quota exceeded"):
			text = quota
		default:
			continue
		}
		return proto.Errorf(proto.NoSpace, "%s: %s", text, l).WithHint("%s and run it again; what has arrived is not sent again", hint)
	}
	return nil
}

func (r Run) explain(res *Result) error {
	if (res.Code == exitTimeout || res.Code == exitDaemon) && r.Socket != "" {
		e := proto.Errorf(proto.Remote, "the remote did not answer for %.0f s", r.patience().Seconds()).
			WithHint("run it again when the connection is back; what has arrived is not sent again")
		e.Err = errors.Join(proto.ErrLink, ErrSilent)
		return e
	}
	if i := slices.IndexFunc(res.Errors, func(l string) bool { return strings.Contains(l, "write failed on ") }); i >= 0 {
		// The receiver gave up, and the pipe to it broke for that.
		return proto.Errorf(proto.Mount, "rsync could not write: %s", res.Errors[i]).
			WithHint("check that the folder is there and may be written, and that its disk takes files of this size")
	}
	if r.Explain != nil {
		if e := r.Explain(strings.Join(slices.DeleteFunc(slices.Clone(res.Errors), pipeEnded), "\n"), res.Code); e != nil {
			if errors.Is(e, proto.ErrLink) && slices.ContainsFunc(res.Errors, func(l string) bool { return strings.Contains(l, "(0 bytes received so far)") }) {
				// The remote's rsync never said a word. That is no reason to go on for ever.
				e.Err = errors.Join(proto.ErrLink, ErrEnded)
			}
			return e
		}
	}
	say := strings.Join(res.Errors, "; ")
	switch res.Code {
	case exitConnection, exitProtocol, exitSocket, exitSignal, 127:
		e := proto.Errorf(proto.Remote, "the connection to the remote failed: %s", say).
			WithHint("check that ssh reaches it and that it has rsync; what has arrived is not sent again")
		if r.Socket != "" && res.Code != 127 && !strings.Contains(say, "(0 bytes received so far)") {
			e.Err = errors.Join(proto.ErrLink, ErrEnded)
			return e
		}
		// A remote whose rsync said nothing at all, while ssh found nothing wrong,
		// has none that works.
		return e
	case exitSelect:
		code, where := proto.Mount, "this side"
		if r.Socket != "" {
			code, where = proto.Remote, "the remote"
		}
		return proto.Errorf(code, "rsync cannot use a folder of %s: %s", where, say).WithHint("check that it is there, and who may enter and write it")
	case exitFile:
		return proto.Errorf(proto.Mount, "rsync could not write: %s", say).WithHint("check that the folder is there and may be written")
	}
	return proto.Errorf(proto.Internal, "rsync failed with code %d: %s", res.Code, say).WithHint("run it again; nothing was deleted")
}

// pipeEnded tells lines by which rsync says no more than that the program behind
// its pipe has ended; whether the link broke is ssh's to say.
func pipeEnded(line string) bool {
	return strings.HasPrefix(line, "rsync: ") &&
		(strings.Contains(line, "Broken pipe (") || strings.Contains(line, "Connection reset by peer ("))
}

// Clean tells whether everything was transferred but for what --max-delete=0
// kept: nothing failed, and nothing vanished.
func (res *Result) Clean() bool {
	switch res.Code {
	case ExitVanished:
		return false
	case ExitPartial:
		// A folder in the way of a file is the one error that the deletion pass
		// mends; without a message that explains the code it is none of these.
		return len(res.Errors) == 0 && (len(res.Conflicts) > 0 || res.Skipped)
	}
	return true
}
