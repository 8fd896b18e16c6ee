package passphrase

import (
	"bytes"
	"context"
	"errors"
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
func fromCommand(ctx context.Context, argv []string, stderr io.Writer) ([]byte, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, proto.Errorf(proto.Config, "passphrase: the command is empty")
	}
	name := filepath.Base(argv[0])
	out := &capped{max: MaxLength + 1} // and a newline
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = environ()
	cmd.Stdout = out
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		clear(out.b)
		return nil, interrupted(context.Cause(ctx))
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
