//go:build linux

package ops

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// said is what gocryptfs logs: for a block that does not authenticate it says
// "doRead INODE: corrupt", and the reader sees only an I/O error.
type said struct {
	mu   sync.Mutex
	log  string
	from int64
	bad  map[uint64]bool
}

func newSaid(log string) *said {
	// A log of its own for each run: it is read from its beginning, and proc
	// removes none that is in use.
	_ = os.Remove(log)
	return &said{log: log, bad: map[uint64]bool{}}
}

// corrupt tells whether gocryptfs complained about a file.
func (s *said) corrupt(ino uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.Open(s.log)
	if err != nil {
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, s.from, 1<<30))
	if err != nil {
		return false
	}
	end := strings.LastIndexByte(string(b), '\n') + 1
	for l := range strings.Lines(string(b[:end])) {
		var n uint64
		if _, err := fmt.Sscanf(l, "doRead %d: corrupt", &n); err == nil {
			s.bad[n] = true
		}
	}
	s.from += int64(end)
	return s.bad[ino]
}
