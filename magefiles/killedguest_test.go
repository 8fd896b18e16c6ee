//go:build linux

package main_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fuseless/guest/proto"
)

// orphanedAt kills the target at an event of its guest, and leaves the guest as it
// is, stopped; goOn lets that go on.
func (l *lab) orphanedAt(event string, args ...string) (goOn func()) {
	l.t.Helper()
	l.plan(shot{Event: event, Signal: syscall.SIGSTOP, To: toGuest})
	c := l.command(context.Background(), args...)
	must(l.t, c.Start())
	eventually(l.t, "the event comes", l.fired)
	must(l.t, c.Process.Kill())
	_ = c.Wait()
	guests := slices.DeleteFunc(processes(l.home), func(pid int) bool {
		exe, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
		return !strings.HasSuffix(exe, ".real")
	})
	if len(guests) != 1 {
		l.t.Fatalf("there are %d guests: %v", len(guests), guests)
	}
	l.plan(shot{})
	return func() { must(l.t, syscall.Kill(guests[0], syscall.SIGCONT)) }
}

// TestGuestOfKilledRun: when a target is killed, its guest goes on until it has
// cleaned up. The next run waits for that: else a restore loses the folder that
// it has just made, and a mount what it has just mounted.
func TestGuestOfKilledRun(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	l.standIn()
	for _, c := range []struct {
		args  []string
		event string
		check func()
	}{
		{[]string{"restore", "-to=" + l.path("to")}, "progress", func() { checkRestore(l) }},
		{[]string{"remoteMount"}, "view begins", func() {
			if s := l.status(); s.Remote == nil || !s.Remote.Alive || s.View == nil || !s.View.Alive {
				t.Errorf("it is not mounted: %s", mustJSON(t, s))
			}
			l.ok("close")
		}},
	} {
		prepareRestore(l)
		goOn := l.orphanedAt(c.event, c.args...)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		again := l.command(ctx, c.args...)
		said := &text{}
		again.Stderr = said
		must(t, again.Start())
		ended := make(chan error, 1)
		go func() { ended <- again.Wait() }()
		eventually(t, "the next run waits", func() bool {
			return len(ended) > 0 || strings.Contains(said.String(), "waiting for an earlier run, which was killed, to clean up after itself")
		})
		goOn()
		if err := <-ended; err != nil {
			t.Fatalf("%v: %v: %s", c.args, err, said.String())
		}
		if !strings.Contains(said.String(), "waiting for an earlier run") {
			t.Errorf("%v does not wait: %s", c.args, said.String())
		}
		c.check()
		cancel()
	}
}

// TestGuestOfKilledRunHangs: a guest that does not go on is ended by the next run.
func TestGuestOfKilledRunHangs(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	l.standIn()
	prepareRestore(l)
	l.orphanedAt("progress", "restore", "-to="+l.path("to"))
	r := l.run("restore", "-to="+l.path("to"))
	l.says(r, proto.OK, "waiting for an earlier run")
	checkRestore(l)
}
