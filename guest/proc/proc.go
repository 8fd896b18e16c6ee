// Package proc is the one place that runs processes: argv, context, standard
// input, inherited secrets, process sessions and exit codes.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// grace is how long a cancelled process has between SIGTERM and SIGKILL.
const grace = 5 * time.Second

// Cmd is a process to run.
type Cmd struct {
	Argv   []string
	Dir    string
	Env    []string // added to Environ()
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer // nil: the tail is kept for the error

	// Secrets become the file descriptors 3, 4, ... of the process, each the
	// reading end of a pipe that holds the secret. So a secret is never in
	// argv, in the environment or on a disk.
	Secrets [][]byte

	// Files become the ones after these.
	Files []*os.File
}

// ExitError is a process that ended with another status than 0.
type ExitError struct {
	Name   string // base name of the program
	Code   int    // exit status, or -1 for a signal
	Stderr string // the last lines of standard error, if they were kept
	Err    error
}

func (e *ExitError) Error() string {
	s := fmt.Sprintf("%s: %v", e.Name, e.Err)
	if t := strings.TrimSpace(e.Stderr); t != "" {
		s += ": " + t
	}
	return s
}

func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode is the exit status in err, or -1 where there is none.
func ExitCode(err error) int {
	var e *ExitError
	if errors.As(err, &e) {
		return e.Code
	}
	return -1
}

// Stderr is the kept standard error in err.
func Stderr(err error) string {
	var e *ExitError
	if errors.As(err, &e) {
		return e.Stderr
	}
	return ""
}

// Environ is this process's environment without what a child must not have:
// variables that change how the tools behave behind our back, or that could
// hold a secret that is meant for us. LC_ALL=C keeps messages parsable.
func Environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		k, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(k, "RSYNC_"), strings.HasPrefix(k, "LC_"), k == "LANG", k == "LANGUAGE",
			k == "GOCRYPTFS_PASSWORD", strings.HasPrefix(k, "FUSELESS_"):
			continue
		}
		env = append(env, kv)
	}
	return append(env, "LC_ALL=C")
}

// Run runs cmd to its end, in a session of its own: a terminal's Ctrl-C does
// not reach it (gocryptfs unmounts on SIGINT even when busy), and neither it
// nor its children can prompt. When ctx ends, it gets SIGTERM, and five seconds
// later SIGKILL; whatever is then left of its process group is killed.
//
// It returns an *ExitError for a status other than 0, ctx's error if ctx ended
// first, and exec's error if the program could not be started.
func Run(ctx context.Context, cmd Cmd) error {
	p, err := Start(ctx, cmd)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Output runs cmd and returns its standard output.
func Output(ctx context.Context, cmd Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout = &out
	err := Run(ctx, cmd)
	return out.Bytes(), err
}

// Process is a started Cmd.
type Process struct {
	*exec.Cmd
	ctx  context.Context
	name string
	tail *tail
	fds  []*os.File
}

// Start starts cmd like Run, and leaves the waiting to the caller, who must
// call Wait.
func Start(ctx context.Context, cmd Cmd) (*Process, error) {
	if len(cmd.Argv) == 0 {
		return nil, errors.New("proc: empty argv")
	}
	c := exec.CommandContext(ctx, cmd.Argv[0], cmd.Argv[1:]...)
	c.Dir = cmd.Dir
	c.Env = append(Environ(), cmd.Env...)
	c.Stdin = cmd.Stdin
	c.Stdout = cmd.Stdout
	c.Stderr = cmd.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Only the leader: rsync ends its own children in order, and those that are
	// told by somebody else leave their temporary files.
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = grace
	p := &Process{Cmd: c, ctx: ctx, name: filepath.Base(cmd.Argv[0])}
	if cmd.Stderr == nil {
		p.tail = &tail{}
		c.Stderr = p.tail
	}
	for _, s := range cmd.Secrets {
		r, err := secretPipe(s)
		if err != nil {
			p.closeFds()
			return nil, err
		}
		p.fds = append(p.fds, r)
		c.ExtraFiles = append(c.ExtraFiles, r)
	}
	c.ExtraFiles = append(c.ExtraFiles, cmd.Files...)
	err := c.Start()
	p.closeFds()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return p, nil
}

func (p *Process) closeFds() {
	for _, f := range p.fds {
		f.Close()
	}
	p.fds = nil
}

// Wait waits for the process and says how it ended, as Run does.
func (p *Process) Wait() error {
	err := p.Cmd.Wait()
	if p.ctx.Err() != nil {
		endGroup(p.Cmd.Process.Pid)
		return fmt.Errorf("%s: %w", p.name, p.ctx.Err())
	}
	if err == nil {
		return nil
	}
	e := &ExitError{Name: p.name, Code: -1, Err: err}
	if p.tail != nil {
		e.Stderr = p.tail.String()
	}
	var x *exec.ExitError
	if errors.As(err, &x) {
		e.Code = x.ExitCode()
	}
	return e
}

// endGroup ends what the leader of a process group left behind, such as a
// grandchild that it forgot. Children that are on their way out get a moment.
func endGroup(pgid int) {
	for range 100 { // the kernel has no event for the end of a group
		if syscall.Kill(-pgid, 0) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = syscall.Kill(-pgid, syscall.SIGKILL)
}

// secretPipe is the reading end of a pipe that holds s. It is filled while the
// process reads, so s may be longer than a pipe; if the process never reads,
// the writing ends with EPIPE when it is gone.
func secretPipe(s []byte) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		_, _ = w.Write(s)
		_ = w.Close()
	}()
	return r, nil
}

// tail keeps the last 4 KiB of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - 4096; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(string(t.b), "?") }
