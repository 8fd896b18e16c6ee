// Package sampler watches whether secrets show up where every user can see
// them: in the argv and the environment of processes. It is for tests.
//
// A secret that is there for a shorter time than a pass takes may be missed, so
// a test should plant one first and see it found, and demand a number of
// passes.
package sampler

import "fmt"

// Finding is a secret that was seen.
type Finding struct {
	PID    int
	Comm   string // the process's name, at most 15 bytes
	Where  string // "cmdline" or "environ"
	Secret int    // index among the arguments of Start
}

func (f Finding) String() string {
	return fmt.Sprintf("secret %d in the %s of %s (pid %d)", f.Secret, f.Where, f.Comm, f.PID)
}
