//go:build linux

package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/proto"
)

// signals ends backups of the small vault. Each row has something new to send.
func (r *run) signals() []part {
	var parts []part
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGKILL} {
		parts = append(parts, part{
			fmt.Sprintf("%s to a backup; then again: it succeeds", unix.SignalName(s)),
			func(ctx context.Context) error { return r.signalled(ctx, s) },
		})
	}
	return parts
}

// endTime is how long a target may take to end that was told to: it takes down
// what it has in the guest.
const endTime = 20 * time.Second

// enough are so many bytes that a backup is in the middle of newLetter when they
// have come: logins and lists are less than half of that.
const (
	enough    = 512 << 10
	newLetter = 2 << 20
)

// addLetter gives the small source something new.
func (r *run) addLetter(name string) error {
	data := make([]byte, newLetter)
	rand.Read(data)
	return r.user.do(func() error {
		return os.WriteFile(filepath.Join(r.home(smallSource), "letters", name), data, 0o644)
	})
}

func (r *run) signalled(ctx context.Context, s syscall.Signal) error {
	name := unix.SignalName(s)
	before, err := r.remains(ctx)
	if err != nil {
		return err
	}
	if err := r.addLetter(name); err != nil {
		return err
	}
	u, err := r.midway(ctx, in("lima"), enough)
	if err != nil {
		return err
	}
	begin := time.Now()
	err = u.signal(s)
	r.server.Restore()
	res, werr := u.wait()
	took := time.Since(begin)
	if err := errors.Join(err, werr); err != nil {
		return err
	}
	want, happened := proto.Interrupted, said(res)
	if s == syscall.SIGKILL {
		want, happened = -1, "the guest cleans up by itself"
	}
	if res.code != want || took > endTime {
		return different("after %s it ends with %d after %.1f s: %s", name, int(res.code), took.Seconds(), res.stderr)
	}
	limit, mayStay := settleTime, []string(nil)
	if s == syscall.SIGKILL {
		// The sockets of the one that was killed, and their folder.
		limit, mayStay = endTime, []string{fmt.Sprintf("/dev/shm/fuseless-%d", r.user.uid), fmt.Sprintf("bridge-%d.", u.pid)}
	}
	if err := r.nothingMore(ctx, before, limit, mayStay...); err != nil {
		return err
	}
	cleaned := time.Since(begin)
	if _, err := r.with(ctx, in("lima"), "backup"); err != nil {
		return err
	}
	if err := r.vaultIsSource(ctx, secondVault, smallSource); err != nil {
		return err
	}
	if err := r.nothingMore(ctx, before, settleTime); err != nil {
		return err
	}
	r.met("signal", name+" to `fuseless backup`", res.code, took,
		"%s; nothing is left here and in the guest (looked at after %.1f s); the next backup succeeds, and the vault is the source", happened, cleaned.Seconds())
	return nil
}
