package throwaway

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/kballard/go-shellquote"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"fuseless/guest/proc"
)

// offer is what a client reads that asked for something else.
const offer = "only sftp and rsync --server are offered here"

// session serves one session channel: the first exec or subsystem request.
func (s *Server) session(ctx context.Context, ch ssh.Channel, requests <-chan *ssh.Request) {
	defer ch.Close()
	// A channel whose connection breaks, or that is closed, ends requests.
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	begun := false
	for r := range requests {
		what, serve := s.request(r)
		ok := serve != nil && !begun
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		if !ok {
			if r.Type != "env" { // ssh sends LANG and the like unasked
				s.refused(what)
			}
			continue
		}
		begun = true
		work.Go(func() {
			// Exit status last, after all output (RFC 4254, 6.10, leaves the
			// order open, but rsync's data must not be cut).
			out := &ordered{Channel: ch}
			status := serve(ctx, out)
			_ = out.CloseWrite()
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			_ = ch.Close()
		})
	}
}

// ordered is a channel whose CloseWrite waits for a Write that is under way: the
// SFTP server's own goroutine may still write when Serve has returned.
type ordered struct {
	ssh.Channel
	mu sync.Mutex
}

func (o *ordered) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Channel.Write(b)
}

func (o *ordered) CloseWrite() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Channel.CloseWrite()
}

// request is what r asks for, and the function that does it; nil if there is
// none. An exec that is not offered is served by a refusal.
func (s *Server) request(r *ssh.Request) (what string, serve func(context.Context, ssh.Channel) uint32) {
	what = r.Type
	var payload struct{ Value string }
	switch r.Type {
	case "exec", "subsystem":
		if ssh.Unmarshal(r.Payload, &payload) != nil {
			return what, nil
		}
		what += " " + payload.Value
	case "shell":
	default:
		return what, nil // pty-req, env, x11-req, auth-agent-req@openssh.com, ...
	}
	if s.refuse.Load() {
		return what, nil
	}
	switch {
	case r.Type == "subsystem" && payload.Value == "sftp":
		return what, s.sftp
	case r.Type == "subsystem":
		return what, nil
	case r.Type == "exec":
		if argv, err := shellquote.Split(payload.Value); err == nil && len(argv) > 2 && argv[0] == "rsync" && argv[1] == "--server" {
			return what, func(ctx context.Context, ch ssh.Channel) uint32 { return s.rsync(ctx, ch, argv) }
		}
	}
	return what, func(_ context.Context, ch ssh.Channel) uint32 {
		s.refused(what)
		fmt.Fprintln(ch.Stderr(), offer)
		return 1
	}
}

func (s *Server) sftp(ctx context.Context, ch ssh.Channel) uint32 {
	s.count(func(c *Counters) { c.Sessions++ })
	server, err := sftp.NewServer(&rooted{ReadWriteCloser: ch, root: s.root})
	if err != nil {
		fmt.Fprintln(ch.Stderr(), err)
		return 1
	}
	defer context.AfterFunc(ctx, func() { ch.Close() })()
	if err := server.Serve(); err != nil && err != io.EOF {
		return 1
	}
	return 0
}

// rsync runs argv, without a shell, in the root folder.
func (s *Server) rsync(ctx context.Context, ch ssh.Channel, argv []string) uint32 {
	s.count(func(c *Counters) { c.Sessions++ })
	var ends [6]*os.File // reading and writing ends of stdin, stdout, stderr
	defer func() {
		for _, f := range ends {
			if f != nil {
				f.Close()
			}
		}
	}()
	for i := 0; i < len(ends); i += 2 {
		var err error
		if ends[i], ends[i+1], err = os.Pipe(); err != nil {
			fmt.Fprintln(ch.Stderr(), err)
			return 1
		}
	}
	p, err := proc.Start(ctx, proc.Cmd{Argv: argv, Dir: s.root, Stdin: ends[0], Stdout: ends[3], Stderr: ends[5]})
	if err != nil {
		fmt.Fprintln(ch.Stderr(), err)
		return 127
	}
	ends[0].Close()
	ends[3].Close()
	ends[5].Close()
	go func() { // ends with the client's EOF, or with the channel
		_, _ = io.Copy(ends[1], ch)
		ends[1].Close()
	}()
	var output sync.WaitGroup
	output.Go(func() { _, _ = io.Copy(ch, ends[2]) })
	output.Go(func() { _, _ = io.Copy(ch.Stderr(), ends[4]) })
	err = p.Wait()
	output.Wait()
	if err == nil {
		return 0
	}
	if code := proc.ExitCode(err); code > 0 {
		return uint32(code)
	}
	return 255 // a signal
}
