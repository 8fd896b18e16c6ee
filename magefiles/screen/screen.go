// Package screen is what a person sees. Results go to stdout, everything else
// to stderr; on a terminal transfers have a bar with rate and time left, and
// elsewhere a plain line now and then.
package screen

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"fuseless/guest/proto"
)

// plainEvery is the time between two progress lines where there is no terminal.
const plainEvery = 15 * time.Second

// Screen shows the events of one vault's request.
type Screen struct {
	Out, Err io.Writer
	Terminal bool // Err is a terminal
	Verbose  bool
	Vault    string

	bar   *progressbar.ProgressBar
	plain time.Time
}

// New shows on stdout and stderr.
func New(vault string, verbose bool) *Screen {
	return &Screen{
		Out: os.Stdout, Err: os.Stderr, Vault: vault, Verbose: verbose,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// steps says what a step does, in words that need no manual.
var steps = map[proto.Step]string{
	proto.StepRepair:     "cleaning up after an earlier run",
	proto.StepConnect:    "looking at the destination",
	proto.StepReverse:    "encrypting the source on the fly",
	proto.StepTransfer:   "sending what changed",
	proto.StepVirtual:    "checking the vault's own files again (gocryptfs before 2.5.0)",
	proto.StepCandidates: "listing what the source no longer has",
	proto.StepSecondLook: "looking again before anything is deleted",
	proto.StepDelete:     "moving deleted files to the trash",
	proto.StepPrune:      "removing old trash",
	proto.StepRemote:     "mounting the remote",
	proto.StepView:       "mounting the decrypted view",
	proto.StepFetch:      "fetching the encrypted files",
	proto.StepDecrypt:    "decrypting them into place",
	proto.StepServe:      "starting the WebDAV server",
	proto.StepUnserve:    "stopping the WebDAV server",
	proto.StepUnmount:    "unmounting",
	proto.StepInit:       "making the vault's configuration",
	proto.StepCompare:    "comparing the vault with the source",
	proto.StepRead:       "reading the vault by decrypting it",
	proto.StepKey:        "working on the vault's configuration",
	proto.StepInstall:    "putting the configuration into the vault",
}

// StepText is the text of a step.
func StepText(s proto.Step) string { return steps[s] }

// Event shows e. Results, configurations and master keys are not for here.
func (s *Screen) Event(e proto.Event) {
	switch e.Kind {
	case proto.KindStep:
		if e.Done {
			s.endBar()
			return
		}
		s.plain = time.Now()
		s.Say("%s", steps[e.Step])
	case proto.KindProgress:
		s.progress(*e.Progress)
	case proto.KindChange:
		s.endBar()
		fmt.Fprintf(s.Err, "%s: %-11s %s\n", s.Vault, e.Change.What, Quote(e.Change.Path))
	case proto.KindWarning:
		s.Say("warning: %s", e.Text)
	case proto.KindNote:
		s.Say("%s", e.Text)
	}
}

// Say writes a line about the vault to stderr.
func (s *Screen) Say(format string, args ...any) {
	s.endBar()
	fmt.Fprintf(s.Err, "%s: %s\n", s.Vault, fmt.Sprintf(format, args...))
}

func (s *Screen) progress(p proto.Progress) {
	if !s.Terminal {
		if time.Since(s.plain) >= plainEvery {
			s.plain = time.Now()
			fmt.Fprintf(s.Err, "%s: %s, %d %%, %s/s, %s left\n", s.Vault,
				humanize.IBytes(uint64(p.Bytes)), p.Percent, humanize.IBytes(uint64(p.Rate)), time.Duration(p.Left)*time.Second)
		}
		return
	}
	if s.bar == nil {
		s.bar = progressbar.NewOptions(100,
			progressbar.OptionSetWriter(s.Err), progressbar.OptionSetWidth(24), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionThrottle(100*time.Millisecond))
	}
	s.bar.Describe(fmt.Sprintf("%s: %s, %s/s, %s left", s.Vault,
		humanize.IBytes(uint64(p.Bytes)), humanize.IBytes(uint64(p.Rate)), time.Duration(p.Left)*time.Second))
	_ = s.bar.Set(min(p.Percent, 99))
}

func (s *Screen) endBar() {
	if s.bar != nil {
		_ = s.bar.Clear()
		s.bar = nil
	}
}

// Done ends whatever is still being drawn.
func (s *Screen) Done() { s.endBar() }

// Backup prints the account of a backup.
func (s *Screen) Backup(r *proto.BackupResult) {
	s.endBar()
	verb := "backed up"
	if r.DryRun {
		verb = "would back up"
	}
	fmt.Fprintf(s.Out, "%s: %s: %s, %s; %s new, %s sent (%s of data, %s on the wire), %s deleted; %s\n",
		s.Vault, verb, entries(r.Files), humanize.IBytes(uint64(r.Bytes)), humanize.Comma(r.Created),
		plural(r.UserFiles, "file", "files"), humanize.IBytes(uint64(r.Literal)), humanize.IBytes(uint64(r.Sent)),
		humanize.Comma(r.Deleted), r.Duration.Round(100*time.Millisecond))
	if r.Trash != "" {
		fmt.Fprintf(s.Out, "%s: what was deleted is in the trash: %s\n", s.Vault, r.Trash)
	}
	if r.Doubtful > 0 {
		fmt.Fprintf(s.Out, "%s: missing in only one of two looks at the source, and kept: %s\n", s.Vault, entries(r.Doubtful))
	}
	for _, o := range r.NotBackedUp {
		fmt.Fprintf(s.Out, "%s: not backed up: %s: %s\n", s.Vault, o.What, examples(o))
	}
}

func entries(n int64) string { return plural(n, "entry", "entries") }

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(n) + " " + many
}

func examples(o proto.Omission) string {
	var names []string
	for _, e := range o.Examples {
		names = append(names, Quote([]byte(e)))
	}
	text := strings.Join(names, ", ")
	if more := o.Count - int64(len(names)); more > 0 && len(names) > 0 {
		text += fmt.Sprintf(" and %s more", humanize.Comma(more))
	} else if len(names) == 0 {
		text = humanize.Comma(o.Count)
	}
	return text
}

// Quote makes a file name fit for a terminal: control characters, and bytes
// that are not UTF-8, are escaped. A name from a backup must not be able to
// steer the terminal.
func Quote(name []byte) string {
	plain := true
	for _, r := range string(name) {
		if r < ' ' || r == 0x7f || r == 0xfffd || r >= 0x80 && r < 0xa0 {
			plain = false
		}
	}
	if plain {
		return string(name)
	}
	return fmt.Sprintf("%+q", name)
}

// Restore prints the account of a restore.
func (s *Screen) Restore(r *proto.RestoreResult) {
	s.endBar()
	fmt.Fprintf(s.Out, "%s: restored %s, %s, into %s; %s\n", s.Vault, entries(r.Files),
		humanize.IBytes(uint64(r.Bytes)), r.To, r.Duration.Round(100*time.Millisecond))
	if r.Existing > 0 {
		fmt.Fprintf(s.Out, "%s: already there, and left as it was: %s\n", s.Vault, entries(r.Existing))
	}
	if r.Reduced {
		fmt.Fprintf(s.Out, "%s: through sshfs: times in whole seconds, hard links are separate files\n", s.Vault)
	}
}
