package bench

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"fuseless/guest/proto"
)

// running is what was started to go on.
type running struct {
	end   context.CancelFunc
	ended chan struct{}
	usage usage
	err   error  // why it ended
	peaks *peaks // nil: not watched
}

// hold starts steps that go on until they are ended, and returns when there has
// no error any more. It closes what did not come so far. With peaks, the memory is
// watched.
func (p *place) hold(ctx context.Context, steps []step, peaks bool, wait time.Duration, there func() error) (*running, error) {
	for i := range steps {
		if steps[i].Dir == "" {
			steps[i].Dir = p.dir
		}
	}
	m, err := start(job{Steps: steps, Grace: lingerTime}, p.meter, p.env(), p.inside, nil)
	if err != nil {
		return nil, err
	}
	r := &running{ended: make(chan struct{})}
	if peaks {
		r.peaks = watch(m.cmd.Process.Pid)
	}
	lives, end := context.WithCancel(ctx)
	r.end = end
	go func() {
		defer close(r.ended)
		r.usage, r.err = m.wait(lives)
	}()
	for late := time.After(wait); ; { // nothing tells when it is there
		err := there()
		if err == nil {
			return r, nil
		}
		select {
		case <-r.ended:
			err = errors.Join(err, r.err)
		case <-late:
		case <-time.After(10 * time.Millisecond):
			continue
		}
		_, cerr := r.close()
		return nil, errors.Join(err, cerr)
	}
}

// open starts a server and waits until it listens, and is known how to be asked.
func (p *place) open(ctx context.Context, dial dialer, s server) (*running, *davClient, error) {
	c := newDavClient(dial, s.addr, "", "")
	c.few = s.few
	r, err := p.hold(ctx, s.steps, true, cmp.Or(s.wait, serverWait), func() error {
		conn, err := dial(ctx, s.addr)
		if err != nil {
			return err
		}
		conn.Close()
		if s.credentials != nil {
			c.user, c.password, err = s.credentials(ctx)
		}
		return err
	})
	if err != nil {
		return nil, nil, proto.Errorf(proto.Internal, "%s does not listen: %w", s.name, err)
	}
	return r, c, nil
}

// serverWait is how long a server may take to listen.
const serverWait = time.Minute

// close ends what runs, with all that belongs to it, and tells how much memory
// that had, if it was watched.
func (r *running) close() (memory int64, err error) {
	r.end()
	<-r.ended
	if r.peaks != nil {
		r.peaks.stop()
		memory = r.peaks.sum
	}
	switch {
	case len(r.usage.Left) > 0:
		return 0, proto.Errorf(proto.Different, "still running after its end, and killed: %s", strings.Join(r.usage.Left, ", "))
	case r.err != nil && !errors.Is(r.err, context.Canceled):
		return 0, r.err
	}
	return memory, nil
}
