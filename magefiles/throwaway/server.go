// Package throwaway is an ssh server in this process, on loopback, for the
// demo and the tests: a remote as restricted as a storage box. It offers the
// sftp subsystem and the command `rsync --server ...`, to one key, and nothing
// else. Its folder is where it begins, not a prison: it is reachable only with
// a key that its maker holds, who may read these files anyway.
package throwaway

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"fuseless/guest/proto"
)

// User is the login name that the server accepts.
const User = "demo"

// handshakeTime bounds key exchange and authentication.
const handshakeTime = 15 * time.Second

// Server is a running ssh server.
type Server struct {
	Addr      string // 127.0.0.1:port
	Port      string
	SSHConfig string // file for ssh -F; its host alias is Alias

	root    string
	config  *ssh.ServerConfig
	l       net.Listener
	ctx     context.Context
	cancel  func()
	work    sync.WaitGroup
	refuse  atomic.Bool
	in, out atomic.Int64
	gate    gate

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	counters Counters
}

// Counters is what a server has seen since its start.
type Counters struct {
	Connections int      // authenticated
	Sessions    int      // served, of sftp and rsync
	In, Out     int64    // bytes on the wire, to and from the server
	Refused     []string // what was asked for in vain, as "exec uname -a"
}

// Start listens on a free port of 127.0.0.1 and serves the folder root until
// Close or the end of ctx. New keys, known_hosts and an ssh configuration are
// written to keyDir, all with mode 0600.
func Start(ctx context.Context, root, keyDir string) (*Server, error) {
	if fi, err := os.Stat(root); err != nil || !fi.IsDir() {
		return nil, proto.Errorf(proto.Internal, "the throwaway remote's folder %s is missing", root)
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, proto.Errorf(proto.Internal, "%w", err)
	}
	if keyDir, err = filepath.Abs(keyDir); err != nil {
		return nil, proto.Errorf(proto.Internal, "%w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, proto.Errorf(proto.Internal, "listen for the throwaway remote: %w", err)
	}
	s := &Server{root: root, l: l, Addr: l.Addr().String(), conns: map[net.Conn]struct{}{}}
	_, s.Port, _ = net.SplitHostPort(s.Addr)
	if err := s.makeKeys(keyDir); err != nil {
		l.Close()
		return nil, proto.Errorf(proto.Internal, "keys of the throwaway remote: %w", err)
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	context.AfterFunc(s.ctx, func() { // whoever ended it
		l.Close()
		s.Drop()
	})
	s.work.Go(s.accept)
	return s, nil
}

// Close ends every connection and every rsync, and waits for them.
func (s *Server) Close() error {
	s.cancel()
	s.l.Close()
	s.Drop()
	s.work.Wait()
	return nil
}

// Drop breaks all connections, as a network that fails does.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Refuse makes the server refuse every session from now on, or no longer.
func (s *Server) Refuse(on bool) { s.refuse.Store(on) }

// Counters is what the server has seen.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counters
	c.Refused = slices.Clone(c.Refused)
	c.In, c.Out = s.in.Load(), s.out.Load()
	return c
}

func (s *Server) count(f func(*Counters)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.counters)
}

// refused notes what was refused.
func (s *Server) refused(what string) {
	s.count(func(c *Counters) { c.Refused = append(c.Refused, what) })
}

func (s *Server) accept() {
	for {
		conn, err := s.l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return
			}
			select { // out of descriptors: some will be free
			case <-time.After(100 * time.Millisecond):
				continue
			case <-s.ctx.Done():
				return
			}
		}
		c := &counted{Conn: conn, s: s, closed: make(chan struct{})}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		if s.ctx.Err() != nil { // Drop may have come before the line above
			c.Close()
		}
		s.work.Go(func() {
			s.serve(c)
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// serve serves one connection to its end.
func (s *Server) serve(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(handshakeTime))
	conn, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	_ = c.SetDeadline(time.Time{})
	s.count(func(c *Counters) { c.Connections++ })
	ctx, cancel := context.WithCancel(s.ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() {
		for r := range requests { // keep-alives, and attempts to forward
			if r.Type == "tcpip-forward" || r.Type == "streamlocal-forward@openssh.com" {
				s.refused(r.Type)
			}
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
		}
	})
	for n := range channels {
		if n.ChannelType() != "session" {
			s.refused(n.ChannelType())
			_ = n.Reject(ssh.Prohibited, "only sftp and rsync --server are offered here")
			continue
		}
		channel, requests, err := n.Accept()
		if err != nil {
			continue
		}
		work.Go(func() { s.session(ctx, channel, requests) })
	}
	conn.Close()
}

// counted counts the bytes of a connection, and passes them through the gate.
type counted struct {
	net.Conn
	s      *Server
	once   sync.Once
	closed chan struct{}
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.s.in.Add(int64(n))
	c.s.gate.came(n)
	c.s.gate.wait(c.closed)
	return n, err
}

func (c *counted) Write(p []byte) (int, error) {
	c.s.gate.wait(c.closed)
	n, err := c.Conn.Write(p)
	c.s.out.Add(int64(n))
	return n, err
}

func (c *counted) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
