package interrupt

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/proc"
	"fuseless/magefiles/guestbin"
)

// lookEvery is how often a target looks whether mage still lives.
const lookEvery = 200 * time.Millisecond

// runners are the processes that run this one: mage, and the go command where
// that runs mage. None for a compiled task binary, which is to live on when its
// shell has gone.
type runners []struct {
	pid   int
	start uint64
}

// findRunners finds them. ok is false if mage has ended already.
//
// `go tool mage` is three processes: go, mage, and the target. mage says by
// MAGEFILE_GOCMD that it runs something, and what it compiles for one run
// carries no guest binary. It leaves its target in its own session, and whoever
// adopts orphans is in another.
func findRunners() (above runners, ok bool) {
	if guestbin.Embedded() || os.Getenv("MAGEFILE_GOCMD") == "" {
		return nil, true
	}
	pid := os.Getppid()
	own, err := unix.Getsid(0)
	if sid, serr := unix.Getsid(pid); err != nil || serr != nil || sid != own {
		return nil, false
	}
	if !above.add(pid) || os.Getppid() != pid {
		return nil, false
	}
	if _, parent, err := stat(pid); err == nil {
		// That may be a shell, which may go.
		if name, _, err := stat(parent); err == nil && name == "go" {
			above.add(parent)
		}
	}
	return above, true
}

func (r *runners) add(pid int) bool {
	start, err := proc.StartTime(pid)
	if err != nil {
		return false
	}
	*r = append(*r, struct {
		pid   int
		start uint64
	}{pid, start})
	return true
}

// alive tells whether all of them are.
func (r runners) alive() bool {
	for _, p := range r {
		if !proc.Alive(p.pid, p.start) {
			return false
		}
	}
	return true
}
