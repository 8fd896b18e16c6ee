package passphrase

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"fuseless/guest/proto"
)

// fromCommand runs argv, without a shell, and takes what it prints.
//
// It does not go through guest/proc, which gives every child a session and a
// process group of its own: a pinentry must be able to use the terminal, which
// only the foreground group of the terminal's session may.
func fromCommand(ctx context.Context, argv []string, o Options) ([]byte, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, proto.Errorf(proto.Config, "passphrase: the command is empty")
	}
	name := filepath.Base(argv[0])
	out := &capped{max: MaxLength + 1} // and a newline
	limited, cancel := o.limit(ctx, name)
	defer cancel()
	cmd := exec.CommandContext(limited, argv[0], argv[1:]...)
	cmd.Env = environ()
	cmd.Stdout = out
	cmd.Stderr = o.stderr()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		clear(out.b)
		return nil, interrupted(context.Cause(ctx))
	case limited.Err() != nil && err != nil:
		clear(out.b)
		return nil, proto.Errorf(proto.Passphrase, "the passphrase command %s did not end within %v", name, o.commandTimeout()).
			WithHint("run it by hand: it may wait for an answer that nobody can give here; it was stopped")
	case out.over:
		clear(out.b)
		return nil, proto.Errorf(proto.Passphrase, "the passphrase command %s printed more than %d bytes", name, MaxLength)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // that is an agent it started, which keeps the pipe open
		clear(out.b)
		return nil, proto.Errorf(proto.Passphrase, "the passphrase command %s failed: %w", name, err).
			WithHint("run it by hand: it must print the passphrase, and nothing else, on one line")
	}
	b := bytes.TrimSuffix(out.b, []byte("\n"))
	if bytes.IndexByte(b, '\n') >= 0 {
		clear(out.b)
		return nil, proto.Errorf(proto.Passphrase, "the passphrase command %s printed more than one line", name).
			WithHint("let it print the passphrase alone; what it prints as a message belongs on standard error")
	}
	return b, nil
}

// notice is how long a command may take before it is said what is waited for.
const notice = 10 * time.Second

// limit bounds the time of a command. At a terminal there is no bound: a person
// may be looking for a key that must be touched, is told what is waited for, and has
// Ctrl-C.
func (o Options) limit(ctx context.Context, name string) (context.Context, context.CancelFunc) {
	if !IsTerminal() {
		return context.WithTimeout(ctx, o.commandTimeout())
	}
	say := time.AfterFunc(notice, func() {
		fmt.Fprintf(o.stderr(), "fuseless: waiting for the passphrase command %s; Ctrl-C ends it\n", name)
	})
	ctx, cancel := context.WithCancel(ctx)
	return ctx, func() { say.Stop(); cancel() }
}

// environ is the whole environment but for our own variables. LC_ALL is left as it
// is: with LC_ALL=C a pinentry cannot take "ü".
func environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "FUSELESS_") {
			env = append(env, kv)
		}
	}
	return env
}

// capped keeps at most max bytes; the first write beyond fails, upon which os/exec closes
// the pipe, so that an endless printer ends.
type capped struct {
	b    []byte
	max  int
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	if len(c.b)+len(p) > c.max {
		c.over = true
		return 0, io.ErrShortWrite
	}
	if c.b == nil {
		c.b = make([]byte, 0, c.max) // never moved, so that clear reaches all of it
	}
	c.b = append(c.b, p...)
	return len(p), nil
}
