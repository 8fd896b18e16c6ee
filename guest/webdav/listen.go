package webdav

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxConns       = 128 // beyond it a connection is closed at once; a client has a handful
	maxHeaderBytes = 64 << 10
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	writeTimeout   = 2 * time.Minute // for a client to take in what is written at once
	shutdownGrace  = 3 * time.Second // for requests in progress
)

// Serve serves connections of ln until ctx ends, then lets requests in
// progress finish for three seconds, and returns nil. It closes ln. What a request is changing
// by then is changed whole, or not at all, before it returns.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          s.log,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(&cappedListener{Listener: ln, max: maxConns, write: s.writeTimeout}) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		srv.Close()
	}
	s.writing.Lock() // none is under way, nor comes any more
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// hangUp closes a request's connection at once, whatever is under way on it: by the
// length that was announced the client sees that it has a part.
func hangUp(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		_ = c.Close()
	}
}

// cappedListener closes connections beyond max. (netutil's LimitListener lets
// them wait instead.)
type cappedListener struct {
	net.Listener
	max   int64
	write time.Duration // without progress, until a connection is given up; 0 for ever
	open  atomic.Int64
}

func (l *cappedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) > l.max {
			l.open.Add(-1)
			c.Close()
			continue
		}
		release := sync.OnceFunc(func() { l.open.Add(-1) })
		if tcp, ok := c.(*net.TCPConn); ok {
			return &tcpConn{tcp, l.write, release}, nil
		}
		return &otherConn{c, release}, nil
	}
}

// tcpConn gives up a client that takes nothing in, which net/http by its
// WriteTimeout could only do for whole responses, however long.
type tcpConn struct {
	*net.TCPConn
	timeout time.Duration
	release func()
}

func (c *tcpConn) renew() {
	if c.timeout > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(c.timeout)) // fails on a closed connection, as will the write
	}
}

func (c *tcpConn) Write(p []byte) (int, error) {
	c.renew()
	return c.TCPConn.Write(p)
}

// ReadFrom is by Write, so that time spent waiting for the source does not count.
func (c *tcpConn) ReadFrom(r io.Reader) (n int64, err error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

func (c *tcpConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

type otherConn struct {
	net.Conn
	release func()
}

func (c *otherConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
