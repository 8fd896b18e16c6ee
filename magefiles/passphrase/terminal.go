package passphrase

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"fuseless/guest/proto"
)

// Terminal is where a person answers: /dev/tty, whatever standard input and
// output are.
type Terminal struct {
	in, out *os.File
	close   func()
}

// OpenTerminal opens the controlling terminal or, where there is none, takes
// standard input and error if both are terminals. Otherwise it fails with
// proto.Terminal. The caller closes it.
func OpenTerminal() (*Terminal, error) {
	if tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
		return &Terminal{tty, tty, func() { tty.Close() }}, nil
	}
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())) {
		return &Terminal{os.Stdin, os.Stderr, func() {}}, nil
	}
	return nil, proto.Errorf(proto.Terminal, "a question needs a terminal, and there is none").
		WithHint("for a passphrase without a terminal set `passphrase: keyring` or `passphrase: {command: [...]}` for the vault")
}

// Close lets go of the terminal.
func (t *Terminal) Close() { t.close() }

// IsTerminal says whether a question can be asked.
func IsTerminal() bool {
	t, err := OpenTerminal()
	if err != nil {
		return false
	}
	t.Close()
	return true
}

// Say prints a line on the terminal.
func (t *Terminal) Say(line string) { _, _ = io.WriteString(t.out, line+"\n") }

// ReadLine asks prompt and returns the answer without its newline. It gives
// io.EOF for Ctrl-D, and proto.Interrupted if ctx ends first.
func (t *Terminal) ReadLine(ctx context.Context, prompt string) (string, error) {
	_, _ = io.WriteString(t.out, prompt)
	b, err := t.read(ctx)
	if err != nil {
		t.Say("")
		return "", err
	}
	return string(b), nil
}

// readSecret is ReadLine without echo. The terminal is restored however it
// ends: also when the process gets SIGINT, SIGTERM, SIGHUP or SIGQUIT, which
// then do not end the process but this call, with proto.Interrupted.
func (t *Terminal) readSecret(ctx context.Context, prompt string) ([]byte, error) {
	fd := int(t.in.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, proto.Errorf(proto.Terminal, "switch off the terminal's echo: %w", err)
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG
	silent.Iflag |= unix.ICRNL

	// Listened to before the echo is off: no signal may end the process in between.
	ctx, stop := untilSignal(ctx)
	defer stop()
	if err := unix.IoctlSetTermios(fd, setTermios, &silent); err != nil {
		return nil, proto.Errorf(proto.Terminal, "switch off the terminal's echo: %w", err)
	}
	resumed := onResume(func() {
		// A shell puts its own settings back while the process is stopped.
		_ = unix.IoctlSetTermios(fd, setTermios, &silent)
		_, _ = io.WriteString(t.out, prompt)
	})
	_, _ = io.WriteString(t.out, prompt)
	b, err := t.read(ctx)
	resumed()
	restore := uint(setTermios)
	if err != nil {
		// What was typed so far must not become the shell's next input, in plain sight.
		restore = setTermiosFlush
	}
	if rerr := unix.IoctlSetTermios(fd, restore, before); err == nil && rerr != nil {
		err = proto.Errorf(proto.Terminal, "restore the terminal: %w", rerr)
	}
	t.Say("") // the newline that was typed was not echoed
	if errors.Is(err, io.EOF) {
		err = errors.New("none was given")
	}
	if err == nil && len(b) >= lineMax {
		err = invalid("the passphrase is longer than a terminal passes on")
	}
	if err != nil {
		clear(b)
		return nil, err
	}
	return b, nil
}

// untilSignal is ctx that also ends at a signal that would end the process.
func untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	go func() {
		select {
		case s := <-signals:
			cancel(errors.New("stopped by a signal: " + s.String()))
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// onResume calls f whenever the process goes on after it was stopped. The
// function that it returns ends that, and only returns once f does not run.
func onResume(f func()) func() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCONT)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-signals:
				f()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(quit)
		<-done
	}
}

// read reads one line, without its newline. It waits with select(2) for the
// terminal or for the end of ctx: a read that is left behind would swallow the
// next answer. (poll(2) and kqueue(2) refuse /dev/tty on macOS.)
func (t *Terminal) read(ctx context.Context) ([]byte, error) {
	wakeR, wakeW, err := os.Pipe()
	if err != nil {
		return nil, proto.Errorf(proto.Terminal, "read the terminal: %w", err)
	}
	defer wakeR.Close()
	defer wakeW.Close()
	stop := context.AfterFunc(ctx, func() { _, _ = wakeW.Write([]byte{0}) })
	defer stop()

	tty, wake := int(t.in.Fd()), int(wakeR.Fd())
	if max(tty, wake) >= unix.FD_SETSIZE {
		return nil, proto.Errorf(proto.Terminal, "read the terminal: too many open files")
	}
	line := make([]byte, 0, lineMax+2)
	for {
		var ready unix.FdSet
		ready.Set(tty)
		ready.Set(wake)
		switch _, err := unix.Select(max(tty, wake)+1, &ready, nil, nil, nil); {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return line, proto.Errorf(proto.Terminal, "wait for the terminal: %w", err)
		case ctx.Err() != nil:
			return line, interrupted(context.Cause(ctx))
		}
		n, err := unix.Read(tty, line[len(line):cap(line)])
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return line, proto.Errorf(proto.Terminal, "read the terminal: %w", err)
		case n == 0:
			return line, io.EOF
		}
		line = line[:len(line)+n]
		if line[len(line)-1] == '\n' {
			return line[:len(line)-1], nil
		}
		if len(line) == cap(line) {
			return line, proto.Errorf(proto.Terminal, "read the terminal: the line is too long")
		}
	}
}

// ReadLine asks prompt on the terminal, with echo, and returns the answer
// without its newline. Errors: proto.Terminal without a terminal, io.EOF for
// Ctrl-D, proto.Interrupted if ctx ends first.
func ReadLine(ctx context.Context, prompt string) (string, error) {
	t, err := OpenTerminal()
	if err != nil {
		return "", err
	}
	defer t.Close()
	return t.ReadLine(ctx, prompt)
}

// Confirm asks a question on the terminal; only y and yes are a yes, the
// default and Ctrl-D are a no. The errors are those of ReadLine.
func Confirm(ctx context.Context, question string) (bool, error) {
	s, err := ReadLine(ctx, question+" [y/N] ")
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}
