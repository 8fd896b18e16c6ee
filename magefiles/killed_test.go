//go:build linux

package main_test

import (
	"bytes"
	"context"
	"os/exec"
	"syscall"
	"testing"

	"fuseless/guest/mounts"
	"fuseless/guest/proto"
)

// paused starts a backup that has its reverse mount and waits in rsync.
func (l *lab) paused() (c *exec.Cmd, stderr *bytes.Buffer) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	l.t.Cleanup(cancel)
	p := l.pauseRsync(false)
	c, stderr = l.command(ctx, "backup"), &bytes.Buffer{}
	c.Stderr = stderr
	must(l.t, c.Start())
	p.wait()
	if points, err := mounts.Below(l.mem); err != nil || len(points) != 1 {
		l.t.Fatalf("mounted during a backup: %v (%v)", points, err)
	}
	return c, stderr
}

// TestInterrupted: Ctrl-C ends a backup with a code of its own, and cleans up.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	l.write("folder 0/new", "new")
	before := l.onRemote()
	c, stderr := l.paused()
	must(t, c.Process.Signal(syscall.SIGINT))
	if code := exitCode(t, c.Wait()); code != proto.Interrupted {
		t.Errorf("interrupted: %d: %s", code, stderr)
	}
	if left := lasting(l.left); len(left) > 0 {
		t.Errorf("an interrupted backup leaves %q", left)
	}
	l.unchanged("interrupted", before)
	l.ok("backup")
	l.sameAsSource()
}

// TestKilled: what a run that was killed leaves is seen by `status`, and taken
// down by the next run.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, next := range []string{"backup", "down"} {
		t.Run(next, func(t *testing.T) {
			l := newLab(t).started()
			l.write("folder 0/new", "new")
			c, _ := l.paused()
			// All of it but gocryptfs, which has a session of its own.
			// Stopped first, or those that die last would clean up for the others.
			var all []int
			for _, pid := range descendants(c.Process.Pid) {
				if !isProgram(pid, "gocryptfs") {
					all = append(all, pid)
					_ = syscall.Kill(pid, syscall.SIGSTOP)
				}
			}
			for _, pid := range all {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			_ = c.Wait()
			if s := l.status(); len(s.Strays) != 1 {
				t.Errorf("status names the strays %q", s.Strays)
			}
			l.ok(next)
			if s := l.status(); len(s.Strays) != 0 {
				t.Errorf("after %s there are still %q", next, s.Strays)
			}
			l.ok("backup")
			l.sameAsSource()
		})
	}
}
