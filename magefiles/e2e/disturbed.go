//go:build linux

package e2e

import (
	"context"
	"crypto/rand"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/proto"
)

// suspended is how long the host sleeps: longer than what is expected at once
// may take.
const suspended = 10 * time.Second

// disturbedBackup is the first backup of the main vault. In the middle of it the
// host is suspended, and then the link to the remote is dead for as long as it
// takes to be noticed. It needs nobody to go on.
func (r *run) disturbedBackup(ctx context.Context) error {
	u, err := r.midway(ctx, mainOnly, bulk/4)
	if err != nil {
		return err
	}
	begin := time.Now()
	pids := r.user.processes()
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGSTOP) // one may have ended
	}
	goOn := func() {
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGCONT)
		}
	}
	defer goOn() // a stopped process cannot be told to end
	r.say("suspended: %d processes, fuseless, ssh and QEMU among them", len(pids))
	r.server.Restore()
	select {
	case <-time.After(suspended): // the sleep itself
	case <-ctx.Done():
	}
	reached := r.server.CutAfter(bulk / 4)
	goOn()
	if err := u.until("it went on after the sleep", reached); err != nil {
		return err
	}
	slept := time.Since(begin)

	begin = time.Now()
	if err := u.until("it noticed that the link is dead", u.says("trying again in ")); err != nil {
		return err
	}
	noticed := time.Since(begin)
	r.server.Restore()
	res, err := u.wait()
	if err == nil {
		err = res.failure()
	}
	if err != nil {
		return err
	}
	b, err := r.lastBackup(ctx, mainVault)
	if err != nil {
		return err
	}
	if b.Breaks < 1 {
		return different("it tried again, and counts no break: %+v", b)
	}
	r.met("suspended host", "fuseless, ssh and QEMU stopped for 10 s in a backup", res.code, slept, "it goes on by itself")
	r.met("dead link, for a while", "the link cut in a backup until it is noticed", res.code, time.Since(begin),
		"noticed after %.1f s; it tries again by itself (breaks: %d) and succeeds", noticed.Seconds(), b.Breaks)
	return nil
}

// killedVM kills the VM in the middle of a backup, and under a view that is open.
func (r *run) killedVM(ctx context.Context) error {
	err := r.user.do(func() error {
		data := make([]byte, bulk/2)
		rand.Read(data)
		return os.WriteFile(r.home(mainSource, "another.bin"), data, 0o644)
	})
	if err != nil {
		return err
	}
	u, err := r.midway(ctx, mainOnly, bulk/4)
	if err != nil {
		return err
	}
	defer r.server.Restore()
	pid, err := r.qemu()
	if err != nil {
		return err
	}
	r.say("killing QEMU, process %d", pid)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil { // as a power failure does
		return err
	}
	begin := time.Now()
	r.server.Restore()
	failed, err := r.mustFail(ctx)
	if err != nil {
		return err
	}
	res, err := u.wait()
	if err != nil {
		return err
	}
	took := time.Since(begin)
	if res.code != proto.Guest {
		return different("it should end with %d (%s), and not with %d: %s", int(proto.Guest), proto.Guest, int(res.code), res.stderr)
	}
	r.met("killed VM", "SIGKILL of QEMU in a backup", res.code, took, "%s", said(res))
	r.met("killed VM", "the same, under an open view", proto.OK, failed, "reading a file gives an error")
	return nil
}
