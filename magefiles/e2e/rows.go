//go:build linux

package e2e

import (
	"fmt"
	"time"

	"fuseless/guest/proto"
)

// row is a failure that depends on where the guest is: what the tests do with
// `guest: local` is done here with a VM.
type row struct {
	what     string // as in the list of failures of issue and README
	done     string
	happened string
	code     proto.Code // of the target that met it; -1: it was killed
	took     time.Duration
}

// met notes a row, for the list at the end of the report.
func (r *run) met(what, done string, code proto.Code, took time.Duration, happened string, args ...any) {
	m := row{what, done, fmt.Sprintf(happened, args...), code, took}
	r.say("%s", m)
	r.rows = append(r.rows, m)
}

func (m row) String() string {
	code := fmt.Sprint(int(m.code))
	if m.code < 0 {
		code = "-"
	}
	return fmt.Sprintf("%s | %s | %s | %s | %.1f s", m.what, m.done, m.happened, code, m.took.Seconds())
}

// printRows prints the list.
func (r *run) printRows() {
	fmt.Fprintf(r.out, "in the VM too (what goes wrong | what was done | what happened | code | time):\n")
	for _, m := range r.rows {
		fmt.Fprintf(r.out, "%s\n", m)
	}
	fmt.Fprintln(r.out)
}
