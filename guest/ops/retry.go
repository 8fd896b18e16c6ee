//go:build linux

package ops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"fuseless/guest/proto"
	"fuseless/guest/rsync"
	"fuseless/guest/store"
)

const (
	// longestPause is between two tries; the first pause is one second.
	longestPause = time.Minute
	// silence is how long rsync may hear nothing of the remote before the link
	// counts as broken. A remote that is busy may need longer: so the time doubles
	// with each try that only waited, and begins higher where whole files are read
	// before anything is said.
	silence, checksumSilence, longestSilence = time.Minute, rsync.Patience, time.Hour
	// endings is how many times the remote's rsync may end by itself in one pass, on
	// a link of which ssh has nothing bad to say. That is not the link's fault,
	// whatever it is.
	endings = 10
	// pruneTries: old trash is not worth more, the backup is done.
	pruneTries = 5
)

// link is what a run knows of its link to the remote.
type link struct {
	reached bool         // this run had a connection: one that breaks is worth another
	moved   atomic.Int64 // grows with whatever is achieved
	silent  int          // tries in a row that ended in silence, with nothing achieved
	breaks  atomic.Int64 // how often it broke
}

// pause is the time to wait after the n-th failure in a row, from 1.
func pause(n int) time.Duration {
	if n > 6 {
		return longestPause
	}
	return min(time.Second<<(n-1), longestPause)
}

// patience is for how long rsync waits for a sign of life.
func (l *link) patience(checksum bool) time.Duration {
	first := silence
	if checksum {
		first = checksumSilence
	}
	return min(first<<min(l.silent, 6), longestSilence)
}

// connect is store.Open for the destination; from then on the remote is one
// that can be reached.
func (r *run) connect(ctx context.Context) (store.FS, error) {
	st, err := store.Open(ctx, r.Destination)
	if err == nil {
		r.link.reached = true
	}
	return st, err
}

// persist does f, which must be safe to repeat, until it succeeds or fails for
// a reason that time does not mend. A link that broke is tried again, for ever
// unless tries, which is then the highest number of calls of f, is not 0. A
// remote that this run has not reached yet is not: who waits for a first answer
// wants to know. check, which may be nil, says before each further call whether
// it still makes sense.
func (r *run) persist(ctx context.Context, tries int, check, f func() error) error {
	failed, ended := 0, 0
	for n := 1; ; n++ {
		moved, begun := r.link.moved.Load(), time.Now()
		err := f()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			r.link.moved.Add(1)
			if failed > 0 {
				r.note("the remote answered again")
			}
			return nil
		}
		if !errors.Is(err, proto.ErrLink) || !r.link.reached || n == tries {
			return err
		}
		r.link.breaks.Add(1)
		achieved := r.link.moved.Load() != moved
		if achieved {
			failed = 0
		}
		failed++
		switch {
		case errors.Is(err, rsync.ErrSilent) && time.Since(begun) < 3*r.link.patience(false):
			// It did little but wait, whatever it listed before.
			r.link.silent++
		case achieved:
			r.link.silent = 0
		}
		if errors.Is(err, rsync.ErrEnded) {
			if ended++; ended == endings {
				return err
			}
		}
		if err := r.wait(ctx, err, pause(failed)); err != nil {
			return err
		}
		if check != nil {
			if err := check(); err != nil {
				return err
			}
		}
	}
}

// wait says what happened and how it goes on, and waits.
func (r *run) wait(ctx context.Context, cause error, d time.Duration) error {
	text := cause.Error()
	var e *proto.Error
	if errors.As(cause, &e) {
		text = e.Message
	}
	r.warn(fmt.Sprintf("%s; trying again in %.0f s (Ctrl-C ends the run; what has arrived is not sent again)",
		strings.TrimRight(strings.TrimSpace(text), ".:;"), d.Seconds()))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// persist is run.persist for what a backup does while its image is mounted. A
// source or an image that went away meanwhile would look like one without files.
func (b *backup) persist(ctx context.Context, f func() error) error {
	return b.run.persist(ctx, 0, func() error {
		b.drop(ctx) // the same link broke, whoever noticed it
		if err := b.checkSource(); err != nil {
			return err
		}
		return b.image.Check()
	}, f)
}

// persistRun runs rsync, and again when the link broke: for a restore, whose own
// side keeps what arrived.
func (r *run) persistRun(ctx context.Context, run rsync.Run) (res *rsync.Result, err error) {
	if p := run.OnProgress; p != nil {
		run.OnProgress = func(pr proto.Progress) { r.link.moved.Add(pr.Bytes); p(pr) }
	}
	err = r.persist(ctx, 0, nil, func() error {
		run.Timeout = r.link.patience(run.Checksum)
		res, err = run.Do(ctx)
		return err
	})
	return res, err
}
