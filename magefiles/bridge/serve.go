package bridge

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"fuseless/guest/proto"
	"fuseless/guest/remote"
)

const (
	// maxSessions at a time. A mount needs one, a backup two.
	maxSessions = 32
	// requestTime is how long a client may take to say what it wants.
	requestTime = 10 * time.Second
)

// Serve accepts sessions on l and serves them until ctx ends; then it ends
// every ssh that it started, closes l and returns nil. An error of l ends it
// too. logf, which may be nil, gets a line for each session that fails, without
// secrets.
func Serve(ctx context.Context, l net.Listener, r Remote, logf func(format string, args ...any)) error {
	return serve(ctx, l, r, nil, logf)
}

// serve is Serve; with h, sftp sessions are watched.
func serve(ctx context.Context, l net.Listener, r Remote, h *health, logf func(format string, args ...any)) error {
	defer l.Close()
	if err := r.Check(); err != nil {
		return err
	}
	if r.Mux != "" {
		defer os.Remove(r.Mux) // of an ssh that had to be killed
	}
	if logf == nil {
		logf = func(string, ...any) {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()

	// A question to another process, which need not be answered before there is a
	// session.
	shared := make(chan Remote, 1)
	sessions.Go(func() { shared <- r.sharing(ctx) })

	slots := make(chan struct{}, maxSessions)
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			var t interface{ Temporary() bool }
			if errors.As(err, &t) && t.Temporary() { // out of descriptors: some will end
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
				}
				continue
			}
			return proto.Errorf(proto.Internal, "accept a session: %w", err)
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			logf("refused a session: %d are open", maxSessions)
			continue
		}
		sessions.Go(func() {
			defer func() { <-slots }()
			to := <-shared
			shared <- to
			s := session{remote: to, health: h, conn: conn, frames: remote.NewFrameWriter(conn)}
			if err := s.serve(ctx); err != nil {
				logf("%v", err)
			}
		})
	}
}
