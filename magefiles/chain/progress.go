package chain

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"fuseless/lima"
)

// progress shows how a VM starts: what is waited for, and, while cloud-init
// runs, the lines of its log: on a terminal the last one, else those that count.
type progress struct {
	mu       sync.Mutex
	all      bool
	terminal bool
	open     bool // the last line on the terminal is to be overwritten
}

func newProgress(all bool) *progress {
	return &progress{all: all, terminal: term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb"}
}

func (p *progress) show(e lima.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := strings.TrimSpace(e.Text)
	passing := e.Kind == lima.CloudInit && !p.all && !counts(text)
	switch {
	case text == "" || passing && !p.terminal:
		return
	case passing:
		width, _, err := term.GetSize(int(os.Stderr.Fd()))
		if err != nil || width < 20 {
			width = 80
		}
		if line := []rune("vm: " + printable(text)); len(line) >= width {
			text = string(line[:width-1])
		} else {
			text = string(line)
		}
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", text)
		p.open = true
		return
	case p.open:
		fmt.Fprint(os.Stderr, "\r\x1b[K")
		p.open = false
	}
	say("%s", printable(text))
}

// counts says whether a line of cloud-init's log tells something of ours.
func counts(line string) bool {
	return strings.HasPrefix(line, "fuseless: ") || strings.HasPrefix(line, "E: ")
}

// printable leaves out what a log could do to a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}
