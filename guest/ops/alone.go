//go:build linux

package ops

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"fuseless/guest/proto"
	"fuseless/guest/rundir"
)

// cleanUpTime is how long an earlier guest may take to clean up after itself,
// before it is ended. It is longer than what each of its steps may take to end. A
// variable for the tests.
var cleanUpTime = 40 * time.Second

// alone waits until no earlier guest does the same kind of work on the vault, and
// lets later ones wait until this process ends.
//
// Two runs at once is what the host's locks prevent. But when the host's process
// is killed, these are free at once, and its guest goes on until it has cleaned up:
// it removes a target folder into which nothing was restored, and takes down
// mounts, which might be those of the next run by then.
func (r *run) alone(ctx context.Context) error {
	name := "guest.lock"
	if r.Op == proto.OpMount || r.Op == proto.OpServe {
		name = "guest-mounts.lock" // the host has two locks, too
	}
	file := filepath.Join(r.state, name)
	l := flock.New(file, flock.SetPermissions(0o600))
	r.lock = l // kept to the end of the process: without a reference it would be closed, and free
	ok, err := l.TryLock()
	if err == nil && !ok {
		r.note("waiting for an earlier run, which was killed, to clean up after itself")
		ok, err = tryLock(ctx, l, cleanUpTime)
		if err == nil && !ok {
			// Stopped, or in a mount that does not answer. What it leaves, repair takes down,
			// and with it what even a killed process may hang in.
			var earlier identity
			if readJSON(file, &earlier) && earlier.alive() {
				_ = syscall.Kill(earlier.Pid, syscall.SIGKILL)
			}
			ok, err = tryLock(ctx, l, time.Second)
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return rundir.StateError(r.state, "cannot lock the vault", err)
	}
	if !ok {
		return nil
	}
	// In place, as it is the file that is locked; where it cannot be written, nobody
	// is ended by it.
	if b, err := json.Marshal(identify(os.Getpid())); err == nil {
		_ = os.WriteFile(file, b, 0o600)
	}
	return nil
}

// tryLock waits for l, at most for a time.
func tryLock(ctx context.Context, l *flock.Flock, limit time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ok, err := l.TryLockContext(ctx, 20*time.Millisecond)
	if errors.Is(err, context.DeadlineExceeded) {
		return false, nil
	}
	return ok, err
}
