//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// underWay is a call of fuseless that goes on beside us.
type underWay struct {
	r    *run
	pid  int // fuseless's own: what becomes the user execs it
	argv string
	done chan struct{} // closed at the end

	begun          time.Time
	stdout, stderr text
	res            result // from done on
	err            error
}

// begin starts fuseless.
func (r *run) begin(ctx context.Context, env []string, args ...string) (*underWay, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	u := &underWay{r: r, argv: strings.Join(append([]string{r.bin}, args...), " "), done: make(chan struct{}), begun: time.Now()}
	p, err := proc.Start(ctx, proc.Cmd{
		Argv: r.user.argv(env, append([]string{r.bin}, args...)...), Dir: r.user.home,
		Stdout: &u.stdout, Stderr: io.MultiWriter(&u.stderr, os.Stderr),
	})
	if err != nil {
		cancel()
		return nil, err
	}
	u.pid = p.Process.Pid
	go func() {
		defer close(u.done)
		defer cancel()
		err := p.Wait()
		u.res = result{argv: u.argv, stdout: u.stdout.String(), stderr: u.stderr.String(), took: time.Since(u.begun)}
		var x *proc.ExitError
		if errors.As(err, &x) {
			u.res.code, err = proto.Code(x.Code), nil // -1 for a signal
		}
		u.err = err
	}()
	return u, nil
}

// wait waits for the end.
func (u *underWay) wait() (result, error) {
	<-u.done
	return u.res, u.err
}

// until waits for an event, which must come before the end.
func (u *underWay) until(what string, event <-chan struct{}) error {
	select {
	case <-event:
		return nil
	case <-u.done:
		return errors.Join(different("`%s` ended with %d before %s: %s", u.argv, int(u.res.code), what, u.res.stderr), u.err)
	}
}

// says is closed once the call says so on standard error.
func (u *underWay) says(words string) <-chan struct{} { return u.stderr.has(words) }

func (u *underWay) signal(s syscall.Signal) error {
	if c := commandLine(u.pid); !strings.HasPrefix(c, u.argv) {
		return fmt.Errorf("process %d is %q, not `%s`", u.pid, c, u.argv)
	}
	return syscall.Kill(u.pid, s)
}

// text is what a call has said so far.
type text struct {
	mu    sync.Mutex
	b     bytes.Buffer
	words string        // somebody waits for
	there chan struct{} // closed when they are there
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Write(p)
	t.look()
	return len(p), nil
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

func (t *text) has(words string) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	there := make(chan struct{})
	t.words, t.there = words, there
	t.look()
	return there
}

func (t *text) look() {
	if t.there != nil && bytes.Contains(t.b.Bytes(), []byte(t.words)) {
		close(t.there)
		t.there = nil
	}
}

// midway starts a backup, and returns when so many bytes have come to the
// remote; the link is cut then, so that the backup stays there.
func (r *run) midway(ctx context.Context, env []string, bytes int64) (*underWay, error) {
	reached := r.server.CutAfter(bytes)
	u, err := r.begin(ctx, env, "backup")
	if err == nil {
		err = u.until(fmt.Sprintf("%d bytes were sent", bytes), reached)
	}
	if err != nil {
		r.server.Restore()
		return nil, err
	}
	return u, nil
}

// timely is a call that must end with a code, and in time.
func (r *run) timely(ctx context.Context, limit time.Duration, want proto.Code, env []string, args ...string) (result, error) {
	res, err := r.call(ctx, env, nil, append([]string{r.bin}, args...)...)
	switch {
	case err != nil:
	case res.code != want:
		err = different("`%s` ends with %d, not with %d: %s", res.argv, int(res.code), int(want), res.stderr)
	case res.took > limit:
		err = different("`%s` took %.1f s, more than %v", res.argv, res.took.Seconds(), limit)
	}
	return res, err
}

// lastLine is the last line of what a call said that is no hint.
func (res result) lastLine() string {
	last := ""
	for line := range strings.Lines(res.stderr) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "hint:") {
			last = line
		}
	}
	return strings.TrimPrefix(last, "Error: ")
}
