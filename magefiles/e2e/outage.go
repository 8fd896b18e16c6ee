//go:build linux

package e2e

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/proto"
)

// commandLimit is how long `status`, and what takes a view down, may take,
// whatever hangs (README).
const commandLimit = 10 * time.Second

// outage is a link that is dead and stays so, under an open view.
func (r *run) outage(ctx context.Context) error {
	before := mountsBelow(r.user.home)
	if len(before) == 0 {
		return different("nothing is mounted, so nothing can hang")
	}
	r.server.Cut()
	defer r.server.Restore()
	type answer struct {
		took time.Duration
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		took, err := r.mustFail(ctx)
		read <- answer{took, err}
	}()
	if err := r.inTime(ctx, "dead link, lasting", "the link cut under an open view", proto.OK, mainOnly, "status"); err != nil {
		return err
	}
	a := <-read
	if a.err != nil {
		return a.err
	}
	r.met("dead link, lasting", "the same", proto.OK, a.took, "reading a file gives an error")
	for _, target := range []string{"hostUnmount", "unserve", "remoteUnmount"} {
		if err := r.inTime(ctx, "dead link, lasting", "the same", proto.OK, mainOnly, target); err != nil {
			return err
		}
	}
	r.server.Restore()

	// What `down` takes down without a word about the rest.
	if _, err := r.fuseless(ctx, "remoteMount"); err != nil {
		return err
	}
	r.server.Cut()
	if err := r.inTime(ctx, "dead link, lasting", "the link cut under a mounted remote", proto.OK, mainOnly, "down"); err != nil {
		return err
	}
	s, err := r.status(ctx, mainVault)
	if err == nil && (s.Remote != nil || s.View != nil || s.Server != nil || s.Bridge != 0 || s.HostMount != "" || len(s.Strays) > 0) {
		err = different("it is not down: %+v", s)
	}
	return err
}

// mainOnly chooses the main vault: with one chosen, `down` leaves the VM running.
var mainOnly = []string{"FUSELESS_VAULT=" + mainVault}

// inTime is a target that must end within commandLimit.
func (r *run) inTime(ctx context.Context, what, done string, want proto.Code, env []string, args ...string) error {
	res, err := r.timely(ctx, commandLimit, want, env, args...)
	if err != nil {
		return err
	}
	happened := "`" + strings.Join(args, " ") + "` ends"
	if want != proto.OK {
		happened += ": " + said(res)
	}
	r.met(what, done, res.code, res.took, "%s", happened)
	return nil
}

// hungVM stops QEMU, as a VM that hangs: nothing in it answers any more.
func (r *run) hungVM(ctx context.Context) error {
	pid, err := r.qemu()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Kill(pid, unix.SIGCONT) }()
	const what, done = "a VM that hangs", "SIGSTOP to QEMU, under an open view"
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return err
	}
	for _, target := range []string{"status", "remoteUnmount"} {
		if err := r.inTime(ctx, what, done, proto.Guest, mainOnly, target); err != nil {
			return err
		}
	}
	begin := time.Now()
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		return err
	}
	if err := r.recovers(ctx, "sizes/131073"); err != nil {
		return err
	}
	r.met(what, "SIGCONT to QEMU", proto.OK, time.Since(begin), "the view answers again")
	if _, err := r.timely(ctx, commandLimit, proto.OK, mainOnly, "status"); err != nil {
		return err
	}

	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return err
	}
	res, err := r.timely(ctx, commandLimit, proto.OK, nil, "down")
	if err != nil {
		return err
	}
	if !strings.Contains(res.stderr, "does not answer; it is ended by force") {
		return different("`down` does not say that it ended the VM by force: %s", res.stderr)
	}
	if err := r.allDown(); err != nil {
		return err
	}
	r.met(what, done, res.code, res.took, "`down` ends it by force, and leaves nothing: %s", said(res))
	return nil
}

// qemu is the VM's process.
func (r *run) qemu() (pid int, err error) {
	b, err := os.ReadFile(r.instance("qemu.pid"))
	if err != nil {
		return 0, err
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || !strings.Contains(commandLine(pid), r.instance("")) {
		return 0, different("%s does not name the VM's process, but %d: %q", r.instance("qemu.pid"), pid, commandLine(pid))
	}
	return pid, nil
}

// recovers waits until a file can be read that was not read through this mount.
func (r *run) recovers(ctx context.Context, name string) error {
	want, err := os.ReadFile(r.home(mainSource, name))
	if err != nil {
		return err
	}
	begin := time.Now()
	for {
		got, err := r.read(ctx, name)
		if err == nil && string(got) == string(want) {
			return nil
		}
		if time.Since(begin) > 2*time.Minute || ctx.Err() != nil {
			return different("the view is still dead after %.0f s: %v", time.Since(begin).Seconds(), err)
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// allDown looks for what `down` must not leave.
func (r *run) allDown() error {
	if left := mountsBelow(r.user.home); len(left) > 0 {
		return different("down leaves mounts: %q", left)
	}
	if pids := r.user.processes(); len(pids) > 0 {
		return different("down leaves process %d: %s", pids[0], commandLine(pids[0]))
	}
	return nil
}
