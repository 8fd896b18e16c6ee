//go:build linux

package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"fuseless/guest/proto"
)

// patience bounds one call of the task binary.
const patience = 3 * time.Minute

// result is how a call of the task binary ended.
type result struct {
	stdout, stderr string
	code           proto.Code
}

func (r result) String() string {
	return fmt.Sprintf("code %d\nstdout: %s\nstderr: %s", r.code, r.stdout, r.stderr)
}

// command is a call of the task binary, in a session of its own: it has no
// terminal.
func (l *lab) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := slices.Concat(l.before, []string{fuseless}, args)
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Dir = l.dir
	for _, kv := range os.Environ() {
		k, _, _ := strings.Cut(kv, "=")
		if k != "HOME" && !strings.HasPrefix(k, "XDG_") && !strings.HasPrefix(k, "FUSELESS_") && k != "DISPLAY" && k != "WAYLAND_DISPLAY" {
			c.Env = append(c.Env, kv)
		}
	}
	c.Env = append(c.Env, "HOME="+l.home, "XDG_RUNTIME_DIR="+filepath.Join(l.mem, "run"))
	c.Env = append(c.Env, l.env...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: l.as}
	return c
}

// run runs targets.
func (l *lab) run(args ...string) result {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := l.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	r := result{code: exitCode(l.t, c.Run())}
	r.stdout, r.stderr = stdout.String(), stderr.String()
	if ctx.Err() != nil {
		l.t.Fatalf("fuseless %v did not end: %s", args, r)
	}
	return r
}

// ok runs targets that are to succeed.
func (l *lab) ok(args ...string) result {
	l.t.Helper()
	return l.ends(proto.OK, args...)
}

// ends runs targets that are to end with a code, and to say each of the parts
// of what on stderr. A failure has a hint.
func (l *lab) ends(want proto.Code, args ...string) result {
	l.t.Helper()
	r := l.run(args...)
	if r.code != want {
		l.t.Fatalf("fuseless %v: want %d (%s), got %s", args, want, want, r)
	}
	if want == proto.OK && strings.Contains(r.stderr, "warning:") {
		l.t.Errorf("fuseless %v warns: %s", args, r.stderr)
	}
	return r
}

// refused is ends for a failure that a person must be able to act on.
func (l *lab) refused(want proto.Code, args []string, says ...string) {
	l.t.Helper()
	r := l.ends(want, args...)
	for _, s := range append(says, "hint: ") {
		if !strings.Contains(r.stderr, s) {
			l.t.Errorf("fuseless %v does not say %q: %s", args, s, r.stderr)
		}
	}
}

// onTerminal runs targets on a terminal of their own and types answer when
// question appears. It returns what the terminal showed, and the exit code.
func (l *lab) onTerminal(question, answer string, args ...string) (string, proto.Code) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := l.command(ctx, args...)
	c.SysProcAttr.Setctty = true
	tty, err := pty.StartWithAttrs(c, &pty.Winsize{Rows: 40, Cols: 200}, c.SysProcAttr)
	must(l.t, err)
	defer tty.Close()
	var shown bytes.Buffer
	asked := false
	buf := make([]byte, 4096)
	for {
		n, err := tty.Read(buf)
		shown.Write(buf[:n])
		if !asked && strings.Contains(shown.String(), question) {
			asked = true
			_, werr := io.WriteString(tty, answer+"\n")
			must(l.t, werr)
		}
		if err != nil { // EIO when the last process has closed its side
			break
		}
	}
	code := exitCode(l.t, c.Wait())
	if !asked {
		l.t.Errorf("fuseless %v did not ask %q, and ended with %d: %s", args, question, code, shown.String())
	}
	return shown.String(), code
}

func exitCode(t *testing.T, err error) proto.Code {
	t.Helper()
	var x *exec.ExitError
	if errors.As(err, &x) {
		return proto.Code(x.ExitCode())
	}
	must(t, err)
	return proto.OK
}
