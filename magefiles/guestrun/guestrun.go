// Package guestrun is the host's end of the protocol with fuseless-guest.
package guestrun

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// patience is how long a cancelled guest may clean up before it is killed:
// longer than all its own deadlines together.
const patience = 60 * time.Second

// Guest is where the Linux work is done.
type Guest struct {
	// Argv starts `fuseless-guest run`: the binary itself on a Linux host.
	Argv []string

	Remote bool // Argv is ssh's, into a VM
}

// Local is the guest on this machine.
func Local(binary string) *Guest { return &Guest{Argv: []string{binary, "run"}} }

// Do sends one request and calls on for each event, in order. The secrets in
// req travel on standard input. When ctx ends, standard input is closed, and
// the guest cleans up. A failed request returns a *proto.Error. Where the cause
// of ctx's end is a *proto.Error with code Guest, nobody is there who could clean
// up: then Do waits for nothing, and returns that error.
func (g *Guest) Do(ctx context.Context, req proto.Request, on func(proto.Event)) error {
	req.Protocol = proto.Version
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	c := exec.Command(g.Argv[0], g.Argv[1:]...)
	c.Env = proc.Environ()
	if g.Remote {
		c.Env = append(c.Env, "SSH_AUTH_SOCK=") // the VM has no use for an agent
	}
	// A terminal's Ctrl-C must reach only us: the guest ends when we say so.
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := c.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	said, err := c.StderrPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return proto.Errorf(proto.Internal, "cannot start the guest: %w", err)
	}
	var stderr tail
	copied := make(chan struct{})
	go func() {
		_, _ = io.Copy(&stderr, said)
		close(copied)
	}()
	ended := make(chan struct{})
	defer close(ended)
	gone := func() bool { return proto.CodeOf(context.Cause(ctx)) == proto.Guest }
	stop := context.AfterFunc(ctx, func() {
		stdin.Close()
		wait := patience
		if gone() {
			wait = 0
		}
		select {
		case <-ended:
		case <-time.After(wait):
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			// An ssh has handed them to the shared connection, which lives on.
			_ = stdout.Close()
			_ = said.Close()
		}
	})
	defer stop()
	_, werr := stdin.Write(append(line, '\n'))
	failed := read(stdout, on)
	_ = stdin.Close()
	<-copied
	err = c.Wait()
	switch {
	case gone():
		return context.Cause(ctx)
	case failed != nil && failed.Code == proto.Interrupted && ctx.Err() != nil:
		hint := failed.Hint
		if hint == "" {
			hint = "run it again: it goes on where it was"
		}
		return proto.Errorf(proto.Interrupted, "interrupted").WithHint("%s", hint)
	case failed != nil:
		return failed
	case ctx.Err() != nil:
		return proto.Errorf(proto.Interrupted, "interrupted").WithHint("run it again: it goes on where it was")
	case g.Remote && (err != nil || werr != nil):
		return proto.Errorf(proto.Guest, "the connection to the VM broke: %w: %s", errors.Join(err, werr), stderr.b).
			WithHint("run it again: it goes on where it was; `fuseless logs` shows what the VM says")
	case err != nil || werr != nil:
		return proto.Errorf(proto.Internal, "the guest ended without a word: %w: %s", errors.Join(err, werr), stderr.b)
	}
	return nil
}

// read hands on the events and returns the error event, if there is one.
func read(r io.Reader, on func(proto.Event)) *proto.Error {
	var failed *proto.Error
	dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	for {
		var e proto.Event
		if err := dec.Decode(&e); err != nil {
			// Whatever is behind a broken line must be drained, or the guest
			// would block on it.
			_, _ = io.Copy(io.Discard, r)
			return failed
		}
		if e.Kind == proto.KindError {
			failed = &proto.Error{Code: e.Code, Message: e.Text, Hint: e.Hint}
			continue
		}
		if on != nil {
			on(e)
		}
	}
}

// tail keeps the last 2 KiB.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - 2048; over > 0 {
		t.b = t.b[over:]
	}
	return len(p), nil
}
