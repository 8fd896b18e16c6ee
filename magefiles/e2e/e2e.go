//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/lima/guestimage"
	"fuseless/magefiles/compare"
	"fuseless/magefiles/prereq"
	"fuseless/magefiles/throwaway"
)

// limit is how long a run may take. On two cores without KVM it takes some
// twenty minutes.
const limit = 60 * time.Minute

// The two vaults, and their sources below the home folder.
const (
	mainVault   = "photos"
	secondVault = "papers"
	mainSource  = "Pictures"
	smallSource = "Papers"
)

// run is one run.
type run struct {
	out   io.Writer
	began time.Time
	steps []step

	cache string // kept from run to run: image, limactl
	dir   string // of this run, for root alone
	mem   string // of this run, on tmpfs: the passphrase
	user  *account
	image guestimage.Image
	tool  lima.Tool
	bin   string // the installed fuseless
	next  string // the one with another guest binary
	ports map[string]int

	server   *throwaway.Server
	source   compare.Tree    // of the main vault
	baseline map[string]bool // what the home folder held before the first call, and what was this user's elsewhere
	sockets  map[string]bool // that the user had before
	secrets  map[string][]byte
	rows     []row    // of failures that were met, for the list
	facts    []string // for the end of the report
}

type step struct {
	name string
	took time.Duration
}

// Run does everything, and writes the report to out. What it keeps is the
// cache: the guest image and limactl. The error carries the code of the call
// that failed, or Different for what is not as it should be.
func Run(ctx context.Context, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out = &lockedWriter{w: out} // the image is made while something else is
	r := &run{out: out, began: time.Now(), secrets: map[string][]byte{}, ports: map[string]int{}}
	if err := r.step(ctx, "prerequisites", func(ctx context.Context) error { return prereq.Ensure(ctx, Needs(), out) }); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fmt.Fprintf(out, "\n%v\n", err)
			r.lastWords()
		}
		if cerr := r.cleanUp(context.WithoutCancel(ctx), err != nil); err == nil {
			err = cerr
		}
	}()
	for _, part := range [][]part{r.preparation(), r.boot(), r.chain(), r.inspection(), r.recovery(), r.change(), r.signals(), r.guestFaults(), r.renewal(), r.farewell()} {
		for _, p := range part {
			if err := r.step(ctx, p.name, p.do); err != nil {
				return err
			}
		}
	}
	r.report()
	return nil
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// part is a step to take.
type part struct {
	name string
	do   func(context.Context) error
}

// step takes a step, and says what and how long.
func (r *run) step(ctx context.Context, name string, f func(context.Context) error) error {
	if ctx.Err() != nil {
		return proto.Errorf(proto.Interrupted, "interrupted before: %s", name)
	}
	fmt.Fprintf(r.out, "\n--- %s\n", name)
	begin := time.Now()
	err := f(ctx)
	took := time.Since(begin)
	r.steps = append(r.steps, step{name, took})
	if err != nil {
		fmt.Fprintf(r.out, "    failed after %.1f s\n", took.Seconds())
		return fmt.Errorf("e2e: %s: %w", name, err)
	}
	fmt.Fprintf(r.out, "    %.1f s\n", took.Seconds())
	return nil
}

// say writes a line about a step.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.out, "    %s\n", fmt.Sprintf(format, args...))
}

// fact writes a line, now and again at the end.
func (r *run) fact(format string, args ...any) {
	r.say(format, args...)
	r.facts = append(r.facts, fmt.Sprintf(format, args...))
}

func (r *run) report() {
	fmt.Fprintf(r.out, "\n%-64s %8s\n", "step", "seconds")
	for _, s := range r.steps {
		fmt.Fprintf(r.out, "%-64s %8.1f\n", s.name, s.took.Seconds())
	}
	fmt.Fprintf(r.out, "%-64s %8.1f\n\n", "all", time.Since(r.began).Seconds())
	r.printRows()
	for _, f := range r.facts {
		fmt.Fprintln(r.out, f)
	}
}
