package lima

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Kind tells what a Progress says.
type Kind string

// The kinds of progress.
const (
	Boot      Kind = "boot"       // Lima waits for something, or has it
	CloudInit Kind = "cloud-init" // a line of the guest's cloud-init-output.log
	Warning   Kind = "warning"    // Lima warns
)

// Progress is a line for the user while a VM starts.
type Progress struct {
	Kind Kind
	Text string
}

// event is a line of ha.stdout.log (Lima's pkg/hostagent/events).
type event struct {
	Time   time.Time `json:"time"`
	Status struct {
		Running      bool     `json:"running"`
		Degraded     bool     `json:"degraded"`
		Exiting      bool     `json:"exiting"`
		Errors       []string `json:"errors"`
		SSHLocalPort int      `json:"sshLocalPort"`
	} `json:"status"`
}

func parseEvent(line []byte) (event, bool) {
	var e event
	err := json.Unmarshal(line, &e)
	return e, err == nil && !e.Time.IsZero()
}

// logLine is a line of ha.stderr.log, and of limactl --log-format=json.
type logLine struct {
	Level string `json:"level"`
	Msg   string `json:"msg"`
}

// Lima's pkg/hostagent/requirements.go.
var (
	waitingFor = regexp.MustCompile(`^Waiting for the (\w+) requirement (\d+) of (\d+): (".*")$`)
	satisfied  = regexp.MustCompile(`^The (\w+) requirement (\d+) of (\d+) is satisfied$`)
)

// bootLog turns the lines of the host agent's log into progress.
type bootLog struct {
	waiting string          // the requirement that is waited for
	ssh     bool            // the guest lets us in
	said    map[string]bool // Lima says the same again with each try
}

// line is what a log line says to the user; false: nothing, or nothing new.
func (b *bootLog) line(line string) (Progress, bool) {
	var l logLine
	if json.Unmarshal([]byte(line), &l) != nil {
		return Progress{}, false
	}
	// limactl repeats the host agent's lines, which are read from its own log.
	if strings.HasPrefix(l.Msg, "[hostagent] ") {
		return Progress{}, false
	}
	p := Progress{Kind: Boot}
	switch m := waitingFor.FindStringSubmatch(l.Msg); {
	case m != nil:
		b.waiting, _ = strconv.Unquote(m[4]) // %q
		p.Text = fmt.Sprintf("waiting for %s (%s %s of %s)", b.waiting, m[1], m[2], m[3])
	case satisfied.MatchString(l.Msg):
		b.ssh = true // the first one is ssh itself
		p.Text = b.waiting + ": done"
	case l.Level == "warning" || l.Level == "error" || l.Level == "fatal":
		p = Progress{Kind: Warning, Text: l.Msg}
		for _, noise := range []string{
			"is supported only for debugging!", "Not adding QEMU argument", // the variable that chooses TCG
			"guest agent events closed unexpectedly", "connection to the guest agent was closed unexpectedly", // not up yet
		} {
			if strings.Contains(l.Msg, noise) {
				return Progress{}, false
			}
		}
	default:
		for _, prefix := range []string{"Attempting to download", "Downloading", "Downloaded", "Converting", "Starting the instance",
			"Mounting", "Guest agent is running", "Forwarding TCP"} {
			if strings.HasPrefix(l.Msg, prefix) {
				p.Text = l.Msg
			}
		}
	}
	if p.Text == "" || b.said[p.Text] {
		return Progress{}, false
	}
	if b.said == nil {
		b.said = map[string]bool{}
	}
	b.said[p.Text] = true
	return p, true
}

// unsatisfied matches an error of the host agent's last event.
var unsatisfied = regexp.MustCompile(`(?s)^failed to satisfy the \w+ requirement \d+ of \d+ "([^"]*)": (.*?)(?:; skipping further checks)?: stdout=`)

// reasons are the host agent's errors for a person: each unmet requirement
// with its hint.
func reasons(errs []string) (what, hints []string) {
	for _, text := range errs {
		// errors.Join puts each on a line of its own; hints have several lines,
		// and what follows a hint has one.
		for text != "" {
			end := 0
			if m := unsatisfied.FindStringSubmatch(text); m != nil {
				what = append(what, m[1])
				hints = append(hints, strings.TrimSpace(m[2]))
				end = len(m[0])
			}
			line, rest, _ := strings.Cut(text[end:], "\n")
			if end == 0 && line != "" {
				what = append(what, line)
			}
			text = rest
		}
	}
	return what, hints
}

// probeHint is the hint of the template's probe with that description.
func probeHint(limaYAML []byte, description string) string {
	var t struct {
		Probes []struct{ Description, Hint string }
	}
	if yaml.Unmarshal(limaYAML, &t) != nil {
		return ""
	}
	for _, p := range t.Probes {
		if p.Description == description {
			return strings.TrimSpace(p.Hint)
		}
	}
	return ""
}
