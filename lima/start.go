package lima

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"fuseless/guest/proto"
)

// Start starts a stopped instance, or waits for one that starts already, until
// it is ready, and reports progress to on, which may be nil and is called by
// one goroutine at a time. After timeout, or when ctx ends, the VM goes on: it
// can be waited for again, or stopped.
//
// The error is a *proto.Error that says what the VM was waiting for, and the
// last lines of its log.
func (i Instance) Start(ctx context.Context, timeout time.Duration, on func(Progress)) error {
	if err := i.check(); err != nil {
		return err
	}
	i.removeStalePIDs()
	follow, stop := context.WithCancel(ctx)
	b := &boot{i: i, on: on}
	defer b.wait()
	defer stop()
	var err error
	switch state := i.Quick(); state {
	case Absent:
		return proto.Errorf(failed, "the VM %s does not exist", i.Name)
	case Running, Degraded:
		return nil
	case Broken:
		return proto.Errorf(failed, "only a part of the VM %s runs", i.Name).WithHint("stop it, and start it again")
	case Starting:
		b.watch(follow)
		err = i.await(ctx, timeout)
	default:
		// What an earlier start said must not be taken for this one.
		for _, log := range []string{"ha.stdout.log", "ha.stderr.log"} {
			if err := os.Remove(i.file(log)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return proto.Errorf(failed, "remove the log of an earlier start: %w", err)
			}
		}
		b.watch(follow)
		_, err = i.limactl(ctx, nil, func(line string) { b.logLine(follow, line) },
			"start", "--timeout="+timeout.String(), i.Name)
	}
	if ctx.Err() != nil {
		return proto.Errorf(proto.Interrupted, "interrupted while the VM %s starts: %w", i.Name, ctx.Err()).
			WithHint("it goes on starting; run this again to wait for it")
	}
	if err != nil {
		return i.startError(b, err, timeout)
	}
	return nil
}

var (
	errTimeout  = errors.New("timeout")
	errEnded    = errors.New("the host agent ended")
	errDegraded = errors.New("degraded")
)

// await waits for an instance that somebody else started.
func (i Instance) await(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		switch i.Quick() {
		case Running:
			return nil
		case Degraded:
			return errDegraded
		case Stopped, Broken, Absent:
			return errEnded
		}
		select {
		case <-ctx.Done():
			return errTimeout
		case <-tick.C:
		}
	}
}

// startError says why a VM did not become ready.
func (i Instance) startError(b *boot, err error, timeout time.Duration) error {
	b.mu.Lock()
	waiting := b.log.waiting
	b.mu.Unlock()
	what, hints := reasons(i.lastErrors())
	var msg string
	switch state := i.Quick(); {
	case len(what) > 0:
		msg = "the VM runs, but something in it failed: " + strings.Join(what, "; ")
	case state == Starting && waiting != "":
		msg = fmt.Sprintf("the VM was not ready after %s; it still waits for %s", timeout, waiting)
		yaml, _ := os.ReadFile(i.file("lima.yaml"))
		if h := probeHint(yaml, waiting); h != "" {
			hints = append(hints, h)
		}
	case state == Starting:
		msg = fmt.Sprintf("the VM was not ready after %s", timeout)
	default:
		msg = "the VM did not start: " + i.agentsWords(err)
	}
	if out := b.lastOutput(); len(out) > 0 {
		msg += "\nthe end of the guest's log:\n  " + strings.Join(out, "\n  ")
	}
	hints = append(hints, "the logs are in "+i.Dir())
	return (&proto.Error{Code: failed, Message: msg, Err: err}).WithHint("%s", strings.Join(hints, "\n"))
}

// lastErrors are the errors in the host agent's last event that has some.
func (i Instance) lastErrors() []string {
	var errs []string
	for _, line := range tailLines(i.file("ha.stdout.log"), 100) {
		if e, ok := parseEvent([]byte(line)); ok && len(e.Status.Errors) > 0 {
			errs = e.Status.Errors
		}
	}
	return errs
}

// agentsWords are the host agent's last error, or else limactl's.
func (i Instance) agentsWords(err error) string {
	if m := lastMessage(tailLines(i.file("ha.stderr.log"), 50)); m != "" {
		return m
	}
	return err.Error()
}
