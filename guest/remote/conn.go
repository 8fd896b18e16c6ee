package remote

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"fuseless/guest/proto"
)

// Conn is the client's end of a session: Write is the remote command's
// standard input, Read its standard output.
type Conn struct {
	conn   *net.UnixConn
	stderr io.Writer
	stop   func() bool

	mu   sync.Mutex // of all below: Read and Wait take turns
	br   *bufio.Reader
	left int   // bytes of the current standard output frame not yet read
	exit *Exit // once it has come
	err  error // io.EOF after the exit
}

// Dial begins a session with the bridge that listens on socket. What the
// remote command and the host's ssh write to standard error goes to stderr,
// while the caller reads or waits. The end of ctx breaks the connection.
//
// That the bridge cannot be reached is an error of code proto.Remote. What
// the bridge then meets, Wait tells.
func Dial(ctx context.Context, socket string, req Request, stderr io.Writer) (*Conn, error) {
	if stderr == nil {
		stderr = io.Discard
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, proto.Errorf(proto.Remote, "the way to the remote is not open: %w", err).
			WithHint("the host's part of fuseless has ended; mount again from the host")
	}
	u := c.(*net.UnixConn)
	if err := writeRequest(u, req); err != nil {
		u.Close()
		return nil, proto.Errorf(proto.Remote, "ask the host for %s: %w", req.Service, err)
	}
	conn := &Conn{conn: u, stderr: stderr, br: bufio.NewReaderSize(u, bufferSize)}
	conn.stop = context.AfterFunc(ctx, func() { u.Close() })
	return conn, nil
}

// Write sends standard input.
func (c *Conn) Write(p []byte) (int, error) { return c.conn.Write(p) }

// CloseWrite ends standard input; output can still be read.
func (c *Conn) CloseWrite() error { return c.conn.CloseWrite() }

// Close breaks the connection. The host then ends its ssh.
func (c *Conn) Close() error {
	c.stop()
	return c.conn.Close()
}

// Read reads standard output. It returns io.EOF only after the remote command
// has ended; a connection that ends before is io.ErrUnexpectedEOF.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(p)
}

func (c *Conn) read(p []byte) (int, error) {
	for c.left == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.err = c.next()
	}
	n, err := c.br.Read(p[:min(len(p), c.left)])
	c.left -= n
	if err != nil {
		c.left, c.err = 0, lost(err)
		err = c.err
	}
	return n, err
}

// next reads up to the payload of the next standard output frame, or the exit.
func (c *Conn) next() error {
	var h [header]byte
	if _, err := io.ReadFull(c.br, h[:]); err != nil {
		return lost(err)
	}
	n := int(binary.BigEndian.Uint32(h[1:]))
	if n > maxFrame {
		return fmt.Errorf("frame of %d bytes exceeds %d", n, maxFrame)
	}
	switch kind(h[0]) {
	case frameStdout:
		c.left = n
		return nil
	case frameStderr:
		b := make([]byte, n)
		if _, err := io.ReadFull(c.br, b); err != nil {
			return lost(err)
		}
		_, _ = c.stderr.Write(b) // a broken stderr must not end the session
		return nil
	case frameExit:
		b := make([]byte, n)
		if _, err := io.ReadFull(c.br, b); err != nil {
			return lost(err)
		}
		var e Exit
		if err := json.Unmarshal(b, &e); err != nil {
			return fmt.Errorf("exit frame: %w", err)
		}
		c.exit = &e
		return io.EOF
	}
	return fmt.Errorf("unknown frame kind %d", h[0])
}

// lost is err, met where a frame was due.
func lost(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Wait discards what is left of standard output and returns the exit status
// of the remote command. err tells what went wrong where the status alone
// does not: the host's ssh failed, the host refused the request, or the
// connection ended early (status ExitLost).
func (c *Conn) Wait() (code int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf := make([]byte, 32<<10)
	for {
		if _, err = c.read(buf); err != nil {
			break
		}
	}
	if c.exit != nil {
		return c.exit.Code, c.exit.Err()
	}
	if errors.Is(err, net.ErrClosed) {
		return ExitLost, proto.Errorf(proto.Interrupted, "the connection to the host was closed")
	}
	return ExitLost, proto.Errorf(proto.Remote, "the host ended the connection to the remote early: %w", err)
}
