package passphrase

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"fuseless/guest/proto"
)

const roleVariable = "FUSELESS_TEST_ROLE"

// TestMain makes the test binary also the program that asks, so that a test
// can give it a terminal of its own.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(ask(role))
	}
	os.Exit(m.Run())
}

// ask prints the outcome on standard output and ends with the exit code of the error.
func ask(role string) int {
	src := Source{Kind: Prompt, Vault: "photos"}
	ctx := context.Background()
	var s Secret
	var err error
	switch role {
	case "get":
		s, err = Get(ctx, src, Options{})
	case "new":
		s, err = GetNew(ctx, src, Options{})
	case "cancel": // the test says when, by SIGUSR1
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGUSR1)
		defer stop()
		s, err = Get(ctx, src, Options{})
	case "command": // a helper program that asks on the terminal
		s, err = Get(ctx, Source{Kind: Command, Vault: "photos", Command: []string{
			"sh", "-c", `printf 'pin: ' >/dev/tty; read -r x </dev/tty; printf '%s\n' "$x"`}}, Options{})
	case "confirm":
		var yes bool
		yes, err = Confirm(ctx, "delete?")
		fmt.Printf("answer %v\n", yes)
	}
	if err != nil {
		fmt.Printf("error %v\n", err)
		return int(proto.CodeOf(err))
	}
	fmt.Printf("got %d bytes, %q\n", len(s.Reveal()), s.Reveal())
	return 0
}

// dialogue is a program with a terminal, and the person in front of it.
type dialogue struct {
	*testing.T
	tty    *os.File // the person's side
	slave  *os.File // keeps the terminal readable after the program ended
	cmd    *exec.Cmd
	stdout bytes.Buffer

	mu     sync.Mutex
	screen bytes.Buffer
	more   chan struct{}
}

func start(t *testing.T, role string) *dialogue {
	t.Helper()
	tty, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	d := &dialogue{T: t, tty: tty, slave: slave, more: make(chan struct{}, 1)}
	d.cmd = exec.Command(os.Args[0])
	d.cmd.Env = append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")
	d.cmd.Stdin = slave
	d.cmd.Stdout = &d.stdout
	d.cmd.Stderr = slave
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := tty.Read(b)
			d.mu.Lock()
			d.screen.Write(b[:n])
			d.mu.Unlock()
			select {
			case d.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		slave.Close()
		tty.Close()
	})
	return d
}

func (d *dialogue) seen() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.screen.String()
}

// expect waits until text was printed n times.
func (d *dialogue) expect(text string, n int) {
	d.Helper()
	timeout := time.After(20 * time.Second)
	for strings.Count(d.seen(), text) < n {
		select {
		case <-d.more:
		case <-timeout:
			d.Fatalf("no %q (%d times) on the screen:\n%s\nstandard output: %s", text, n, d.seen(), d.stdout.String())
		}
	}
}

func (d *dialogue) typed(text string) {
	d.Helper()
	if _, err := io.WriteString(d.tty, text); err != nil {
		d.Fatal(err)
	}
}

// ends waits for the end of the program, and checks its exit code and that the
// terminal is as it was before.
func (d *dialogue) ends(code proto.Code) string {
	d.Helper()
	err := d.cmd.Wait()
	if got := d.cmd.ProcessState.ExitCode(); got != int(code) {
		d.Errorf("exit code %d (%v), want %d; standard output: %s", got, err, code, d.stdout.String())
	}
	if !d.echo() {
		d.Error("the echo is still off")
	}
	return d.stdout.String()
}

func (d *dialogue) echo() bool {
	d.Helper()
	st, err := unix.IoctlGetTermios(int(d.slave.Fd()), getTermios)
	if err != nil {
		d.Fatal(err)
	}
	return st.Lflag&unix.ECHO != 0
}

const prompted = "passphrase of vault photos: "

func TestPromptDoesNotEcho(t *testing.T) {
	d := start(t, "get")
	d.expect(prompted, 1)
	if d.echo() {
		t.Error("the echo is on while the passphrase is asked for")
	}
	d.typed("hunter two \n")
	if out := d.ends(proto.OK); !strings.Contains(out, `"hunter two "`) {
		t.Errorf("got %s", out)
	}
	d.expect("\r\n", 1)
	if strings.Contains(d.seen(), "hunter") {
		t.Errorf("the passphrase is on the screen: %q", d.seen())
	}
}

func TestPromptRefuses(t *testing.T) {
	for name, c := range map[string]struct{ typed, says string }{
		"empty":    {"\n", "empty"},
		"ctrl-D":   {"\x04", "none was given"},
		"too long": {strings.Repeat("x", MaxLength+1) + "\n", "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, "get")
			d.expect(prompted, 1)
			d.typed(c.typed)
			if out := d.ends(proto.Passphrase); !strings.Contains(out, c.says) {
				t.Errorf("%q does not say %q", out, c.says)
			}
		})
	}
}

func TestPromptTakesTheLongestPassphrase(t *testing.T) {
	d := start(t, "get")
	d.expect(prompted, 1)
	d.typed(strings.Repeat("x", MaxLength) + "\n")
	if out := d.ends(proto.OK); !strings.Contains(out, "2048 bytes") {
		t.Errorf("got %s", out)
	}
}

// Whatever stops the prompt, the terminal is usable afterwards, and what was
// typed of the passphrase is not left to the shell.
func TestPromptStopped(t *testing.T) {
	for name, c := range map[string]struct {
		role string
		stop func(*dialogue)
	}{
		"ctrl-C":  {"get", func(d *dialogue) { d.typed("\x03") }},
		"SIGTERM": {"get", func(d *dialogue) { _ = d.cmd.Process.Signal(syscall.SIGTERM) }},
		"SIGHUP":  {"get", func(d *dialogue) { _ = d.cmd.Process.Signal(syscall.SIGHUP) }},
		"context": {"cancel", func(d *dialogue) { _ = d.cmd.Process.Signal(syscall.SIGUSR1) }},
		"new":     {"new", func(d *dialogue) { d.typed("\x03") }},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, c.role)
			d.expect(prompted, 1)
			d.typed("half a pass")
			c.stop(d)
			d.ends(proto.Interrupted)
			// A newline makes whatever is left in the terminal's line readable.
			d.typed("\n")
			b := make([]byte, 100)
			n, err := d.slave.Read(b)
			if err != nil || string(b[:n]) != "\n" {
				t.Errorf("left for the shell: %q, %v", b[:n], err)
			}
		})
	}
}

func TestPromptComesBackAfterStop(t *testing.T) {
	d := start(t, "get")
	d.expect(prompted, 1)
	before, err := unix.IoctlGetTermios(int(d.slave.Fd()), getTermios)
	if err != nil {
		t.Fatal(err)
	}
	before.Lflag |= unix.ECHO // what a shell does while the program is stopped
	if err := unix.IoctlSetTermios(int(d.slave.Fd()), setTermios, before); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	d.expect(prompted, 2)
	if d.echo() {
		t.Error("the echo is on after the program was resumed")
	}
	d.typed("secret\n")
	d.ends(proto.OK)
}

func TestNewPassphraseIsAskedTwice(t *testing.T) {
	d := start(t, "new")
	answer := func(n int, first, second string) {
		d.expect("new "+prompted, n)
		d.typed(first + "\n")
		d.expect("the same again: ", n)
		d.typed(second + "\n")
	}
	answer(1, "one", "another")
	d.expect("not the same", 1)
	answer(2, "one", "one")
	if out := d.ends(proto.OK); !strings.Contains(out, `"one"`) {
		t.Errorf("got %s", out)
	}
}

func TestNewPassphraseThreeMismatches(t *testing.T) {
	d := start(t, "new")
	for n := 1; n <= attempts; n++ {
		d.expect("new "+prompted, n)
		d.typed("one\n")
		d.expect("the same again: ", n)
		d.typed("two\n")
	}
	if out := d.ends(proto.Passphrase); !strings.Contains(out, "not the same") {
		t.Errorf("got %s", out)
	}
}

func TestNewPassphraseMayNotBeEmpty(t *testing.T) {
	d := start(t, "new")
	d.expect("new "+prompted, 1)
	d.typed("\n")
	d.expect("empty", 1)
	d.expect("new "+prompted, 2)
	d.typed("one\n")
	d.expect("the same again: ", 1)
	d.typed("one\n")
	d.ends(proto.OK)
}

func TestCommandCanUseTheTerminal(t *testing.T) {
	d := start(t, "command")
	d.expect("pin: ", 1)
	d.typed("1234\n")
	if out := d.ends(proto.OK); !strings.Contains(out, `"1234"`) {
		t.Errorf("got %s", out)
	}
}

func TestConfirm(t *testing.T) {
	for typed, want := range map[string]string{"y\n": "true", "YES\n": "true", "\n": "false", "n\n": "false", "yep\n": "false", "\x04": "false"} {
		t.Run(fmt.Sprintf("%q", typed), func(t *testing.T) {
			d := start(t, "confirm")
			d.expect("delete? [y/N] ", 1)
			d.typed(typed)
			if out := d.ends(proto.OK); !strings.Contains(out, "answer "+want) {
				t.Errorf("got %s, want %s", out, want)
			}
		})
	}
}

func TestNoTerminal(t *testing.T) {
	for _, role := range []string{"get", "new", "confirm"} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := cmd.Output()
		var x *exec.ExitError
		if !errors.As(err, &x) || x.ExitCode() != int(proto.Terminal) {
			t.Errorf("%s: %v, want exit code %d", role, err, proto.Terminal)
		}
		for _, hint := range []string{"passphrase: keyring", "{command: [...]}"} {
			if !strings.Contains(string(out), hint) {
				t.Errorf("%s: %q does not name %s", role, out, hint)
			}
		}
	}
}
