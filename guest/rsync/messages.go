package rsync

import (
	"bytes"
	"strconv"
	"strings"
)

// messages reads standard error and sorts it as it comes: conflicts may be
// many, and are all needed; of real errors some are enough, since a backup of a
// large unreadable tree must not fill memory.
type messages struct {
	part      []byte
	conflicts []string // paths of folders in the way of something that is none
	errors    []string
	over      int
	skipped   bool
}

const maxErrors = 1000

func (m *messages) Write(b []byte) (int, error) {
	m.part = append(m.part, b...)
	for {
		i := bytes.IndexByte(m.part, '\n')
		if i < 0 {
			return len(b), nil
		}
		m.line(string(m.part[:i]))
		m.part = m.part[i+1:]
	}
}

func (m *messages) line(s string) {
	s = strings.TrimSpace(s)
	switch {
	case s == "",
		strings.HasPrefix(s, "rsync error: "), strings.HasPrefix(s, "rsync warning: "), // sums up what was said before
		strings.HasPrefix(s, "cannot delete non-empty directory: "):
	case strings.HasPrefix(s, "Deletions stopped due to --max-delete limit"):
		m.skipped = true
	case strings.HasPrefix(s, "could not make way for "):
		if _, p, ok := strings.Cut(s, ": "); ok {
			m.conflicts = append(m.conflicts, p)
		}
	case len(m.errors) >= maxErrors:
		m.over++
	default:
		m.errors = append(m.errors, strings.ToValidUTF8(s, "?"))
	}
}

func (m *messages) end() {
	m.line(string(m.part))
	m.part = nil
	if m.over > 0 {
		m.errors = append(m.errors, "and "+strconv.Itoa(m.over)+" more messages")
	}
}
