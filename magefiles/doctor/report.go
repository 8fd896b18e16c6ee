package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"fuseless/guest/proto"
	"fuseless/magefiles/screen"
)

// Schema is the version of the document that `doctor -json` prints. It grows
// when a field changes its meaning or goes away; new checks and fields may
// come at any time.
const Schema = 1

// Status is how a check went.
type Status string

// The statuses. Missing, TooOld and Failed keep something from working; the
// exit code is that of the first of them.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Missing Status = "missing"
	TooOld  Status = "too old"
	Failed  Status = "failed"
	Skipped Status = "skipped" // it could not be looked at, for the reason that is given
)

// bad says whether something does not work.
func (s Status) bad() bool { return s == Missing || s == TooOld || s == Failed }

// Where a check belongs; the values of Check.Group.
const (
	Host  = "host"
	Guest = "guest"
	Mount = "mount" // what the way of files between host and guest does to them
	Vault = "vault" // one vault, that of Check.Vault
)

// Check is one line of the report.
type Check struct {
	Group   string     `json:"group"`
	Vault   string     `json:"vault,omitempty"`
	Name    string     `json:"name"` // unique in its group and vault
	Status  Status     `json:"status"`
	Code    proto.Code `json:"code"` // exit code; 0 unless Status is missing, too old or failed
	Version string     `json:"version,omitempty"`
	Text    string     `json:"text,omitempty"` // what was found
	Mend    string     `json:"mend,omitempty"` // what to do, mostly a command
}

// Report is what `doctor` found.
type Report struct {
	Schema int         `json:"schema"`
	Config string      `json:"config,omitempty"` // path of the configuration file
	Guest  string      `json:"guest"`            // "local" or "lima"
	Code   proto.Code  `json:"code"`             // exit code
	Checks []Check     `json:"checks"`
	Mount  *MountFacts `json:"mount,omitempty"` // if it was looked at
}

// JSON writes the report as one document.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// Err is nil if nothing is missing, too old or failed; warnings do not count.
// Otherwise it names what is, with the exit code of the first: what comes later
// often follows from it.
func (r *Report) Err() error {
	var names []string
	for _, c := range r.Checks {
		if !c.Status.bad() {
			continue
		}
		name := c.Name
		if c.Vault != "" {
			name = c.Vault + "'s " + name
		}
		names = append(names, fmt.Sprintf("%s (%s)", name, c.Status))
	}
	if len(names) == 0 {
		return nil
	}
	return proto.Errorf(r.Code, "not all is well: %s", strings.Join(names, ", ")).WithHint("what mends each stands with it in the report")
}

// summary counts the statuses.
func (r *Report) summary() string {
	count := map[Status]int{}
	for _, c := range r.Checks {
		count[c.Status]++
	}
	var parts []string
	for _, s := range []Status{OK, Warning, Missing, TooOld, Failed, Skipped} {
		if n := count[s]; n > 0 && s == Warning && n > 1 {
			parts = append(parts, fmt.Sprintf("%d warnings", n))
		} else if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

// Printer prints checks as they come, in plain ASCII but for the names of files.
type Printer struct {
	W     io.Writer
	Lima  bool // the guest is a VM
	title string
}

// The widths of the columns: of the longest status, and of the longest name.
const statusWidth, nameWidth = len(Skipped), 13

// Check prints c, below its group's title.
func (p *Printer) Check(c Check) {
	if t := p.group(c); t != p.title {
		if p.title != "" {
			fmt.Fprintln(p.W)
		}
		fmt.Fprintln(p.W, t)
		p.title = t
	}
	text := c.Text
	if c.Version != "" {
		text = strings.TrimSuffix(c.Version+"; "+text, "; ")
	}
	fmt.Fprintf(p.W, "  %-*s  %-*s  %s\n", statusWidth, c.Status, nameWidth, c.Name, line(text))
	if c.Mend != "" {
		fmt.Fprintf(p.W, "  %-*s  mend: %s\n", statusWidth+2+nameWidth, "", line(c.Mend))
	}
}

// Summary prints the last line.
func (p *Printer) Summary(r *Report) { fmt.Fprintf(p.W, "\n%s\n", r.summary()) }

func (p *Printer) group(c Check) string {
	switch {
	case c.Group == Host:
		return "this machine"
	case c.Group == Guest && p.Lima:
		return "the VM"
	case c.Group == Guest:
		return "the guest, which is this machine"
	case c.Group == Mount && p.Lima:
		return "files between this machine and the VM"
	case c.Group == Mount:
		return "files"
	}
	return "vault " + c.Vault
}

// line is s in one line, and fit for a terminal: names of files may be in it.
func line(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	if quoted := screen.Quote([]byte(s)); !utf8.ValidString(s) || quoted != s {
		return quoted
	}
	return s
}

// add appends c.
func (r *Report) add(c Check) {
	if !c.Status.bad() {
		c.Code = proto.OK
	} else if c.Code == proto.OK {
		c.Code = proto.Internal
	}
	if r.Code == proto.OK {
		r.Code = c.Code
	}
	r.Checks = append(r.Checks, c)
}

// failed makes c the check of a failure.
func failed(c Check, err error) Check {
	c.Status, c.Code, c.Text = Failed, proto.CodeOf(err), err.Error()
	var e *proto.Error
	if errors.As(err, &e) {
		c.Text, c.Mend = e.Message, e.Hint
	}
	return c
}

// failure is failed for a failure in the guest.
func failure(c Check, e *proto.ProbeError) Check {
	c.Status, c.Code, c.Text, c.Mend = Failed, e.Code, e.Text, e.Hint
	return c
}

// Find is the check called name of a group; nil if there is none.
func (r *Report) Find(group, vault, name string) *Check {
	i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Group == group && c.Vault == vault && c.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Checks[i]
}
