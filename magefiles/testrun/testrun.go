// Package testrun runs the project's tests: it installs what they need, vets
// for every platform, runs them with the race detector, and says what was
// skipped and why.
package testrun

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/prereq"
)

// Options are what a run can be told.
type Options struct {
	Out io.Writer // for the report

	// What comes next, if anything: what it needs is installed at once, as
	// apt-get does not run twice at a time, and Beside is done while the tests
	// run, which mostly wait. Its error is only said: what comes next meets it, too.
	Needs  []prereq.Need
	Beside func(ctx context.Context, out io.Writer) error
}

// Run runs everything in the checkout and writes the report. Where CI is set in
// the environment, a test of testdata/must-run.txt that skips, or is not there,
// is a failure.
func Run(ctx context.Context, o Options) error {
	out := o.Out
	src, err := guestbin.Source()
	if err != nil {
		return err
	}
	needs := append(prereq.LocalGuest(), prereq.Tests()...)
	if err := prereq.Ensure(ctx, append(needs, o.Needs...), out); err != nil {
		return err
	}
	if err := platforms(ctx, src, out); err != nil {
		return err
	}
	defer o.beside(ctx)()
	r := newReport(out)
	started := time.Now()
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- r.read(pr) }()
	var stderr bytes.Buffer
	err = proc.Run(ctx, proc.Cmd{
		// One package at a time: several mount and serve, and all of them time out
		// rather than fail when they starve each other.
		Argv: []string{"go", "test", "-race", "-json", "-timeout", "40m", "-p", "1",
			"-parallel", "6", // most of those that run in parallel wait for a link, or a time
			"./..."},
		Dir: src,
		// An ordinary user of Debian has no sbin in PATH, where sshd and mount.davfs
		// are; tests that do not find them skip.
		Env:    []string{"CGO_ENABLED=1", "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"},
		Stdout: pw, Stderr: io.MultiWriter(out, &stderr),
	})
	pw.Close()
	if rerr := <-done; rerr != nil {
		return rerr
	}
	if ctx.Err() != nil {
		return proto.Errorf(proto.Interrupted, "interrupted")
	}
	missing, merr := r.mustRun(filepath.Join(src, "testdata", "must-run.txt"))
	if merr != nil {
		return merr
	}
	r.summary(time.Since(started))
	switch {
	case err != nil || r.failed > 0:
		return proto.Errorf(proto.Different, "%d tests failed: %s", r.failed, strings.Join(r.failures, ", "))
	case r.passed == 0:
		return proto.Errorf(proto.Different, "no test ran")
	case len(missing) > 0 && os.Getenv("CI") != "":
		return proto.Errorf(proto.Different, "tests that must run did not: %s", strings.Join(missing, ", ")).
			WithHint("see above for the reason; testdata/must-run.txt is the list")
	}
	return nil
}

// beside begins what is to be done beside the tests; wait waits for its end and
// says what it said.
func (o Options) beside(ctx context.Context) (wait func()) {
	if o.Beside == nil {
		return func() {}
	}
	var said bytes.Buffer
	done := make(chan error, 1)
	go func() { done <- o.Beside(ctx, &said) }()
	return func() {
		err := <-done
		_, _ = o.Out.Write(said.Bytes())
		if err != nil {
			fmt.Fprintf(o.Out, "beside the tests: %v\n", err)
		}
	}
}

// event is a line of `go test -json` (cmd/test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

// report collects what the tests said.
type report struct {
	out                     io.Writer
	passed, failed, skipped int
	output                  map[string][]string // of tests that have not ended, or failed
	skips                   map[string]string   // reason by test
	results                 map[string]string   // action by test
	failures                []string
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: map[string][]string{}, skips: map[string]string{}, results: map[string]string{}}
}

func (r *report) read(in io.Reader) error {
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			fmt.Fprintln(r.out, sc.Text()) // a build error, for one
			continue
		}
		r.event(e)
	}
	_, _ = io.Copy(io.Discard, in)
	return sc.Err()
}

func (r *report) event(e event) {
	name := strings.TrimPrefix(e.Package, "fuseless/") + "." + e.Test
	switch e.Action {
	case "output":
		r.output[name] = append(r.output[name], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.ended(e, name)
			return
		}
		r.results[name] = e.Action
		switch e.Action {
		case "pass":
			r.passed++
		case "skip":
			r.skipped++
			r.skips[name] = reason(r.output[name])
		case "fail":
			r.failed++
			r.failures = append(r.failures, name)
			fmt.Fprintf(r.out, "%s", strings.Join(r.output[name], ""))
		}
		delete(r.output, name)
	}
}

// ended handles the end of a package.
func (r *report) ended(e event, name string) {
	if e.Action == "fail" {
		// What no test has claimed: a panic, a build error, a time-out.
		for n, lines := range r.output {
			if strings.HasPrefix(n, strings.TrimSuffix(name, ".")) {
				fmt.Fprint(r.out, strings.Join(lines, ""))
			}
		}
		if !slices.ContainsFunc(r.failures, func(f string) bool { return strings.HasPrefix(f, name) }) {
			r.failed++
			r.failures = append(r.failures, e.Package)
		}
	}
	if e.Action != "skip" {
		fmt.Fprintf(r.out, "%-4s %s %.1fs\n", e.Action, e.Package, e.Elapsed)
	}
	delete(r.output, name)
}

// reason is what t.Skip said.
func reason(output []string) string {
	for _, l := range slices.Backward(output) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "---") || strings.HasPrefix(l, "===") {
			continue
		}
		if _, why, ok := strings.Cut(l, ".go:"); ok {
			_, why, _ = strings.Cut(why, ": ")
			return why
		}
		return l
	}
	return "no reason given"
}

// mustRun returns the tests of the list that did not run, with the reason.
func (r *report) mustRun(file string) ([]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the list of tests that must run: %w", err)
	}
	var missing []string
	for l := range strings.Lines(string(b)) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		switch r.results[l] {
		case "pass", "fail":
		case "skip":
			missing = append(missing, l+" ("+r.skips[l]+")")
		default:
			missing = append(missing, l+" (there is no such test)")
		}
	}
	return missing, nil
}

func (r *report) summary(took time.Duration) {
	for _, n := range slices.Sorted(maps.Keys(r.skips)) {
		fmt.Fprintf(r.out, "skipped %s: %s\n", n, r.skips[n])
	}
	fmt.Fprintf(r.out, "tests took %s\n", took.Round(time.Second))
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
}
