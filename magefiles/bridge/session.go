package bridge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/guest/remote"
)

// drainTime is how long the output of an ssh that has ended may stay silent
// before it counts as complete. Only a process that inherited the pipe, such
// as a ProxyCommand, makes it matter.
const drainTime = time.Second

// session is one connection of a client, and the ssh that serves it.
type session struct {
	remote Remote
	health *health // nil: the session is not watched
	conn   net.Conn
	frames *remote.FrameWriter
}

// serve reads the request and serves it to the end. The client hears of every
// failure in the exit frame; the returned error is for the log.
func (s *session) serve(ctx context.Context) error {
	defer s.conn.Close()
	// Nothing of a request is worth waiting for once ctx ends; a running ssh
	// is ended by proc, and the exit frame still goes out.
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Now()) })
	defer stop()

	in := remote.NewReader(s.conn)
	_ = s.conn.SetReadDeadline(time.Now().Add(requestTime))
	req, err := remote.ReadRequest(in)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil // a probe, as that of removeStale
		}
		return s.fail(proto.Errorf(proto.Internal, "%w", err))
	}
	_ = s.conn.SetReadDeadline(time.Time{})
	if ctx.Err() != nil {
		return s.fail(proto.Errorf(proto.Interrupted, "the host is closing the connection to the remote"))
	}
	argv, err := Argv(s.remote, req)
	if err != nil {
		return s.fail(err)
	}
	if req.Service != remote.ServiceSFTP {
		s.health = nil
	}
	if s.health != nil && s.health.down() {
		return s.fail(proto.Errorf(proto.Remote, "the remote did not answer a moment ago").
			WithHint("the mount connects again by itself when it is used"))
	}
	return s.run(ctx, argv, in)
}

// fail ends the session before it has begun.
func (s *session) fail(err error) error {
	s.exit(remote.ExitOf(remote.ExitLost, err))
	return err
}

// exit sends the last frame to a client that may have stopped reading.
func (s *session) exit(e remote.Exit) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(requestTime))
	_ = s.frames.Exit(e)
}

// run runs argv between in and the client's frames.
func (s *session) run(ctx context.Context, argv []string, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var dog *watchdog
	if s.health != nil {
		dog = newWatchdog(s.health, cancel)
		in = tapped{in, dog.asked}
	}
	p, pipes, err := start(ctx, argv)
	if err != nil {
		return s.fail(proto.Errorf(proto.Prerequisite, "%w", err).WithHint("install the OpenSSH client"))
	}
	defer pipes.close()

	go func() {
		// Ends with the client's half-close, or with the connection.
		_, _ = io.CopyBuffer(struct{ io.Writer }{pipes.in}, struct{ io.Reader }{in}, make([]byte, 128<<10))
		pipes.in.Close()
	}()
	tail := &tail{}
	done := make(chan struct{}, 2)
	copyOut := func(copy func(io.Reader) (bool, error), r io.Reader) {
		if delivered, _ := copy(r); !delivered {
			cancel() // the client has gone; so must ssh
		}
		done <- struct{}{}
	}
	var out io.Reader = pipes.out
	if dog != nil {
		out = tapped{out, dog.heard}
	}
	go copyOut(s.frames.CopyStdout, out)
	var said io.Reader = pipes.err
	if s.remote.Mux != "" {
		said = &quiet{lines: bufio.NewReader(pipes.err)}
	}
	go copyOut(s.frames.CopyStderr, io.TeeReader(said, tail))
	// A client that does not read must not hold up the end.
	defer context.AfterFunc(ctx, func() { _ = s.conn.SetWriteDeadline(time.Now().Add(drainTime)) })()

	err = p.Wait()
	if s.remote.Mux != "" {
		_ = removeStale(s.remote.Mux) // of an ssh that was killed
	}
	pipes.out.drain()
	pipes.err.drain()
	<-done
	<-done

	if dog != nil {
		if err := dog.end(); err != nil {
			return s.fail(err)
		}
	}
	if ctx.Err() != nil {
		err := proto.Errorf(proto.Interrupted, "the host closed the connection to the remote")
		s.exit(remote.ExitOf(remote.ExitLost, err))
		return nil
	}
	code := 0
	if err != nil {
		if code = proc.ExitCode(err); code < 0 { // a signal
			code = remote.ExitLost
		}
	}
	if l := s.remote.hostKey(ctx, tail.String()); code != 0 && l != "" {
		_, _ = s.frames.CopyStderr(strings.NewReader(l + "\n"))
		_, _ = tail.Write([]byte(l + "\n"))
	}
	if code == remote.ExitLost && s.health != nil {
		s.health.broke()
	}
	e := remote.Exit{Code: code}
	if x := Explain(tail.String(), code, s.remote); x != nil {
		e = remote.ExitOf(code, x)
	}
	s.exit(e)
	if code != 0 {
		if x := e.Err(); x != nil {
			err = x
		}
		return fmt.Errorf("status %d: %w", code, err)
	}
	return nil
}

// pipes are our ends of a process's standard streams. They are real pipes, for
// with anything else exec copies by itself, and its Wait then waits for a
// standard input that need not end.
type pipes struct {
	in  *os.File
	out *drainer
	err *drainer
}

func (p *pipes) close() {
	p.in.Close()
	p.out.Close()
	p.err.Close()
}

func start(ctx context.Context, argv []string) (*proc.Process, *pipes, error) {
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			f.Close()
		}
	}
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		files = append(files, r, w)
	}
	p, err := proc.Start(ctx, proc.Cmd{Argv: argv, Dir: "/", Stdin: files[0], Stdout: files[3], Stderr: files[5]})
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	for _, i := range []int{0, 3, 5} {
		files[i].Close()
	}
	return p, &pipes{in: files[1], out: &drainer{File: files[2]}, err: &drainer{File: files[4]}}, nil
}

// drainer reads a pipe to its end; after drain, also no longer than until it
// has been silent for drainTime.
type drainer struct {
	*os.File
	draining atomic.Bool
}

func (d *drainer) drain() {
	d.draining.Store(true)
	_ = d.SetReadDeadline(time.Now()) // wakes a Read that has no deadline
}

func (d *drainer) Read(p []byte) (int, error) {
	for {
		draining := d.draining.Load()
		if draining {
			_ = d.SetReadDeadline(time.Now().Add(drainTime))
		}
		begin := time.Now()
		n, err := d.File.Read(p)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			if !draining || time.Since(begin) < drainTime {
				continue // the deadline by which drain woke us
			}
			return 0, io.EOF
		}
		return n, err
	}
}

// tail keeps the last 4 KiB of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - 4096; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }
