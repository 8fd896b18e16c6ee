package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"

	"fuseless/guest/proto"
)

// closeTimeout bounds the wait for the remote sftp-server to end.
const closeTimeout = 3 * time.Second

// How long a server may be silent before the session counts as broken: while it
// begins, which takes a login and perhaps a touch of a hardware key, and while
// it owes an answer. ssh's own keepalive notices a dead link, but not an
// sftp-server that hangs on a live one. Variables for the tests.
var (
	beginTime  = 2 * time.Minute
	answerTime = time.Minute
)

// Session is an sftp session. Everything that asks the server goes through Do.
type Session struct {
	*sftp.Client
	conn *Conn

	mu     sync.Mutex
	asking int // calls of Do under way
	timer  *time.Timer

	silent atomic.Bool // the server did not answer in time
	broken atomic.Bool // reading or writing failed

	once sync.Once
	err  error
}

// OpenSession begins an sftp session on a connection that Dial made, and closes
// it if that fails. Such an error says why the host's ssh failed, not only that
// the connection ended.
func OpenSession(conn *Conn) (*Session, error) {
	s := &Session{conn: conn}
	s.timer = time.AfterFunc(beginTime, func() { s.giveUp() })
	var err error
	s.Client, err = sftp.NewClientPipe(watched{s}, watched{s})
	s.timer.Stop()
	if err == nil {
		return s, nil
	}
	if s.silent.Load() {
		return nil, s.why(beginTime)
	}
	_, werr := conn.Wait()
	conn.Close()
	if werr != nil {
		return nil, werr
	}
	return nil, proto.Errorf(proto.Remote, "begin sftp: %w", err)
}

func (s *Session) giveUp() {
	s.silent.Store(true)
	s.conn.Close()
}

// Do does f, which asks the server for something. If the server is then silent
// for a minute, the session ends. The error of f in a session that broke says
// why it broke, and wraps proto.ErrLink.
func (s *Session) Do(f func() error) error {
	s.ask(1)
	err := f()
	s.ask(-1)
	if err == nil || !s.silent.Load() && !s.broken.Load() {
		return err
	}
	return s.why(answerTime)
}

// Broken tells whether the session has ended, or its server was silent for too
// long.
func (s *Session) Broken() bool { return s.silent.Load() || s.broken.Load() }

func (s *Session) ask(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking += n; s.asking == 0 {
		s.timer.Stop()
	} else if s.asking == n { // the first
		s.timer.Reset(answerTime)
	}
}

// heard notes a sign of life.
func (s *Session) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking > 0 {
		s.timer.Reset(answerTime)
	}
}

// why is the reason for which the session broke.
func (s *Session) why(limit time.Duration) error {
	if s.silent.Load() {
		return proto.Errorf(proto.Remote, "the remote has not answered for %.0f s", limit.Seconds()).
			WithHint("try again; if it stays so, ask the remote's operator").Linked()
	}
	t := time.AfterFunc(closeTimeout, func() { s.conn.Close() })
	defer t.Stop()
	var e *proto.Error
	if _, err := s.conn.Wait(); errors.As(err, &e) {
		if e.Code != proto.Remote && s.conn.ended() != nil { // the host has ended the session
			return e
		}
		return (&proto.Error{Code: proto.Remote, Message: e.Message, Hint: e.Hint}).Linked()
	}
	return proto.Errorf(proto.Remote, "the connection to the remote was lost").
		WithHint("try again; the run goes on where it stopped").Linked()
}

// Close ends the client and its connection; it may be called more than once.
func (s *Session) Close() error {
	s.once.Do(func() {
		// The client's Close waits for the remote to end, which one that does
		// not answer never does.
		t := time.AfterFunc(closeTimeout, func() { s.conn.Close() })
		_ = s.Client.Close()
		t.Stop()
		s.err = s.conn.Close()
		if errors.Is(s.err, net.ErrClosed) {
			s.err = nil
		}
	})
	return s.err
}

// watched is a session's connection as its client sees it: what it meets is
// noted, and its Close closes the writing half only, for the client closes its
// pipe and then waits for the server to end.
type watched struct{ s *Session }

func (w watched) Read(p []byte) (int, error) {
	n, err := w.s.conn.Read(p)
	if n > 0 {
		w.s.heard()
	}
	if err != nil {
		w.s.broken.Store(true)
	}
	return n, err
}

func (w watched) Write(p []byte) (int, error) {
	n, err := w.s.conn.Write(p)
	if err != nil {
		w.s.broken.Store(true)
	}
	return n, err
}

func (w watched) Close() error { return w.s.conn.CloseWrite() }

// SFTP is Dial and OpenSession. The closer may be called more than once.
func SFTP(ctx context.Context, socket string, stderr io.Writer) (*sftp.Client, io.Closer, error) {
	conn, err := Dial(ctx, socket, Request{Service: ServiceSFTP}, stderr)
	if err != nil {
		return nil, nil, err
	}
	s, err := OpenSession(conn)
	if err != nil {
		return nil, nil, err
	}
	return s.Client, s, nil
}
