package chain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"fuseless/guest/proto"
	"fuseless/guest/webdav/challenge"
)

const (
	// forwardTime is how long Lima may take to forward a new listener: its guest
	// agent looks every 3 s, and a VM without acceleration is slow.
	forwardTime = 30 * time.Second
	// freeTime is how long Lima may keep the port of a listener that has gone.
	freeTime = 10 * time.Second
)

// serveInVM starts the server in the VM, and returns when it is reached from
// this machine.
func (v *vault) serveInVM(ctx context.Context) error {
	st, err := v.status(ctx)
	if err != nil {
		return err
	}
	if st.Server == nil {
		if err := portFree(ctx, v.Port, freeTime); err != nil {
			return err
		}
	}
	if err := v.do(ctx, v.request(proto.OpServe), nil); err != nil {
		return err
	}
	s, err := v.session(ctx)
	if err != nil {
		return err
	}
	err = reach(ctx, s, forwardTime)
	if err == nil {
		return nil
	}
	if st.Server == nil { // else a live mount may be on it
		_ = v.unserve(context.WithoutCancel(ctx))
	}
	if ctx.Err() != nil {
		return proto.Errorf(proto.Interrupted, "interrupted while the server is forwarded").WithHint("run it again")
	}
	return proto.Errorf(proto.Serve, "the server in the VM is not reached on %s of this machine: %w", s.Address, err).
		WithHint("does another program use the port? choose another with `port:`; Lima's log is %s", filepath.Join(v.machine.logDir(), "ha.stderr.log"))
}

// portFree waits until nobody listens on the port of this machine.
func portFree(ctx context.Context, port int, limit time.Duration) error {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	return until(ctx, limit, func() error {
		l, err := net.Listen("tcp", address)
		if err == nil {
			return l.Close()
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return proto.Errorf(proto.Serve, "port %d of this machine is taken by another program", port).
				WithHint("end that program, or choose another port with `port:`")
		}
		return proto.Errorf(proto.Serve, "cannot listen on %s: %w", address, err)
	})
}

// reach waits until the server is reached. Somebody else's server on the port is
// found out by the challenge that only ours answers.
func reach(ctx context.Context, s *proto.Session, limit time.Duration) error {
	return until(ctx, limit, func() error {
		conn, err := net.DialTimeout("tcp", s.Address, time.Second)
		if err != nil {
			return err
		}
		conn.Close()
		return challenge.Verify(ctx, "http://"+s.Address+"/", s.User, string(s.Password))
	})
}

// until tries f until it succeeds; its last error counts.
func until(ctx context.Context, limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
