//go:build linux

package e2e

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/proto"
)

// hang is how long an access to a dead mountpoint may take.
const hang = 30 * time.Second

// recovery takes away what a mounted view stands on.
func (r *run) recovery() []part {
	return []part{
		{"close", r.command("close")},
		{"open", r.open},
		{"the process that carries the remote is killed: an error, not a hang", r.bridgeKilled},
		{"open mends it", r.open},
		{"the connection to the VM breaks, as in a sleep: it mends itself", r.linkKilled},
		{"the link to the remote is dead: an error, and all ends in time", r.outage},
		{"open", r.open},
		{"the VM hangs: all ends in time; `down` ends it by force", r.hungVM},
		{"open mends it: the VM starts", r.open},
		{"backup; the VM is killed in it, and under the view: no hang", r.killedVM},
		{"backup again: the VM starts, and it succeeds", r.command("backup")},
		{"backup once more: nothing to send", r.nothingToSend},
		{"open mends it", r.open},
		{"close", r.command("close")},
	}
}

// open opens the view and reads one file of it; the big one stays unread, so
// that it is in no cache.
func (r *run) open(ctx context.Context) error {
	if _, err := r.fuseless(ctx, "open"); err != nil {
		return err
	}
	if _, err := r.session(ctx); err != nil { // another secret to look for
		return err
	}
	const name = "names/UPPER"
	want, err := os.ReadFile(r.home(mainSource, name))
	if err != nil {
		return err
	}
	got, err := r.read(ctx, name)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return different("%s reads %q through the view, not %q", name, got, want)
	}
	return nil
}

// read reads a file of the view, as the user, within the time that is not yet a
// hang. It does not wait for a process that the kernel cannot end.
func (r *run) read(ctx context.Context, name string) ([]byte, error) {
	type answer struct {
		result
		err error
	}
	done := make(chan answer, 1)
	go func() {
		res, err := r.call(ctx, nil, nil, "cat", "--", filepath.Join(r.mountpoint(), name))
		done <- answer{res, err}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			return nil, a.err
		}
		return []byte(a.stdout), a.failure()
	case <-time.After(hang):
		return nil, hung{}
	}
}

type hung struct{}

func (hung) Error() string { return "no answer from the mountpoint within " + hang.String() }

// mustFail reads what no cache can have, and says how long that took.
func (r *run) mustFail(ctx context.Context) (took time.Duration, err error) {
	begin := time.Now()
	_, err = r.read(ctx, "bulk.bin")
	took = time.Since(begin)
	if _, ok := err.(hung); ok {
		return took, different("%v", err)
	}
	if err == nil {
		return took, different("a file can be read although nothing stands behind the mountpoint")
	}
	r.say("an error after %.1f s: %v", took.Seconds(), err)
	return took, nil
}

func (r *run) bridgeKilled(ctx context.Context) error {
	s, err := r.status(ctx, mainVault)
	if err != nil {
		return err
	}
	if s.Bridge <= 1 {
		return different("status names no process that carries the remote")
	}
	r.say("killing process %d: %s", s.Bridge, commandLine(s.Bridge))
	if err := unix.Kill(s.Bridge, unix.SIGKILL); err != nil {
		return err
	}
	took, err := r.mustFail(ctx)
	if err == nil {
		r.met("killed host process", "SIGKILL of the process that carries the remote, under an open view", proto.OK, took, "reading a file gives an error; `open` mends it")
	}
	return err
}

// linkKilled kills the connection that carries the remote's socket into the VM.
// The view must come back by itself: nobody types `open` after each sleep.
func (r *run) linkKilled(ctx context.Context) error {
	killed := 0
	for _, pid := range r.user.processes() {
		if c := commandLine(pid); strings.Contains(c, "ControlMaster=yes") && strings.Contains(c, "/fl.sock") {
			r.say("killing process %d: %s", pid, c)
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				return err
			}
			killed++
		}
	}
	if killed != 1 {
		return different("there are %d connections to the VM, not one", killed)
	}
	begin := time.Now()
	if err := r.recovers(ctx, "sizes/zeros"); err != nil {
		return err
	}
	took := time.Since(begin)
	r.fact("after its connection was killed the view answered again within %.1f s", took.Seconds())
	r.met("dead link, to the VM", "SIGKILL of the ssh connection to the VM, under an open view", proto.OK, took, "the view answers again by itself")
	return nil
}
