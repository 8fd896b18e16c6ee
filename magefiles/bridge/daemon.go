package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"fuseless/guest/proto"
)

// Name is the name (argv[0]) under which the task binary is a bridge that
// outlives a target, for mounts that do: main calls Main when the base name of
// os.Args[0] is Name, before anything else.
const Name = "fuseless-bridge"

// watchTime is how often a daemon looks whether its socket is still there. One
// whose state folder was deleted can neither be reached nor stopped, and ends.
const watchTime = 2 * time.Second

// params are what Spawn sends to a daemon's standard input.
type params struct {
	Remote Remote `json:"remote"`
	Socket string `json:"socket"`
	VM     *VM    `json:"vm,omitempty"`
}

// answer is the line that a daemon writes to standard output: ready, or why not.
type answer struct {
	Ready   bool       `json:"ready,omitempty"`
	Code    proto.Code `json:"code,omitempty"`
	Message string     `json:"message,omitempty"`
	Hint    string     `json:"hint,omitempty"`
}

// Main is the process that Spawn starts. It does not return. SIGTERM ends it,
// with every ssh of it, and removes its socket and state file.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	err := daemon(ctx, os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Name, err)
	}
	os.Exit(int(proto.CodeOf(err)))
}

func daemon(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	var p params
	l, err := daemonListen(stdin, &p)
	if err != nil {
		a := answer{Code: proto.CodeOf(err), Message: err.Error()}
		if e, ok := err.(*proto.Error); ok {
			a.Message, a.Hint = e.Message, e.Hint
		}
		_ = json.NewEncoder(stdout).Encode(a)
		return err
	}
	defer removeState(p.Socket, os.Getpid())
	defer l.Close() // first the socket, then the file that names its owner
	if err := json.NewEncoder(stdout).Encode(answer{Ready: true}); err != nil {
		return proto.Errorf(proto.Interrupted, "whoever started the bridge has gone: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go watch(ctx, cancel, p.Socket)
	logf := func(format string, args ...any) {
		fmt.Fprintf(stderr, "%s %s\n", time.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
	}
	if p.VM != nil {
		go p.VM.keep(ctx, p.Socket, logf)
	}
	return serve(ctx, l, p.Remote, &health{}, logf)
}

func daemonListen(stdin io.Reader, p *params) (net.Listener, error) {
	if err := json.NewDecoder(io.LimitReader(stdin, 64<<10)).Decode(p); err != nil {
		return nil, proto.Errorf(proto.Internal, "%s takes its parameters from fuseless on standard input: %w", Name, err)
	}
	if err := p.Remote.Check(); err != nil {
		return nil, err
	}
	l, err := Listen(p.Socket)
	if err != nil {
		return nil, err
	}
	if err := writeState(p.Socket, p.Remote, p.VM); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// watch ends the daemon once its socket is no longer the one it made.
func watch(ctx context.Context, cancel func(), socket string) {
	own, err := os.Lstat(socket)
	if err != nil {
		cancel()
		return
	}
	t := time.NewTicker(watchTime)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if fi, err := os.Lstat(socket); err != nil || !os.SameFile(own, fi) {
				cancel()
				return
			}
		}
	}
}
