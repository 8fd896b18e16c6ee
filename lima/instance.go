package lima

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// Instance is a VM, whether it exists or not.
type Instance struct {
	Tool Tool
	Home string   // LIMA_HOME, see DefaultHome
	Name string   // of the VM
	Env  []string // for limactl, such as Acceleration.Env

	// Owner is the configuration file that the VM belongs to; empty: anybody's.
	Owner string
}

// Dir is the instance's folder.
func (i Instance) Dir() string { return filepath.Join(i.Home, i.Name) }

func (i Instance) file(name string) string { return filepath.Join(i.Dir(), name) }

// geteuid is replaced in tests.
var geteuid = os.Geteuid

// check refuses what limactl would refuse, with better words.
func (i Instance) check() error {
	if geteuid() == 0 {
		return proto.Errorf(proto.Prerequisite, "limactl does not run as root").WithHint("run this as an ordinary user, without sudo")
	}
	return CheckHome(i.Home, i.Name)
}

// env is what limactl gets besides the user's environment. A connection that
// it opens is shared, and carries the agent of whoever opened it: so none.
func (i Instance) env() []string {
	path := append(filepath.SplitList(os.Getenv("PATH")), systemDirs...)
	return append([]string{
		"LIMA_HOME=" + i.Home,
		"PATH=" + strings.Join(path, string(filepath.ListSeparator)),
		"SSH_AUTH_SOCK=",
	}, i.Env...)
}

// limactl runs limactl, without questions, and returns its standard output.
// Its error has limactl's own last words.
func (i Instance) limactl(ctx context.Context, stdin []byte, onLine func(string), args ...string) ([]byte, error) {
	var out bytes.Buffer
	log := &lineWriter{on: onLine}
	cmd := proc.Cmd{
		Argv:   append([]string{i.Tool.Path, "--tty=false", "--log-format=json"}, args...),
		Dir:    "/",
		Env:    i.env(),
		Stdout: &out,
		Stderr: log,
	}
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	err := proc.Run(ctx, cmd)
	if err == nil {
		return out.Bytes(), nil
	}
	if ctx.Err() != nil {
		return out.Bytes(), ctx.Err()
	}
	return out.Bytes(), &limactlError{verb: args[0], message: lastMessage(log.lines), err: err}
}

type limactlError struct {
	verb, message string
	err           error
}

func (e *limactlError) Error() string {
	if e.message == "" {
		return "limactl " + e.verb + ": " + e.err.Error()
	}
	return "limactl " + e.verb + ": " + e.message
}

func (e *limactlError) Unwrap() error { return e.err }

// lineWriter hands on whole lines, and keeps the last of them.
type lineWriter struct {
	on    func(string)
	rest  []byte
	lines []string
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.rest = rest
		if w.lines = append(w.lines, string(line)); len(w.lines) > 50 {
			w.lines = w.lines[1:]
		}
		if w.on != nil {
			w.on(string(line))
		}
	}
}

// lastMessage is the last thing above a warning that limactl logged.
func lastMessage(lines []string) string {
	for n := len(lines) - 1; n >= 0; n-- {
		var l logLine
		if json.Unmarshal([]byte(lines[n]), &l) != nil {
			if s := strings.TrimSpace(lines[n]); s != "" {
				return s
			}
			continue
		}
		if l.Level == "fatal" || l.Level == "error" {
			return l.Msg
		}
	}
	return ""
}

// lock keeps others from changing the instance. The file is beside the
// instance's folder, under a name that limactl does not take for an instance.
func (i Instance) lock(ctx context.Context) (unlock func(), err error) {
	return i.lockFor(ctx, 30*time.Second)
}

func (i Instance) lockFor(ctx context.Context, patience time.Duration) (unlock func(), err error) {
	if err := os.MkdirAll(i.Home, 0o700); err != nil {
		return nil, proto.Errorf(proto.Config, "cannot make the folder of the VM: %w", err)
	}
	l := flock.New(filepath.Join(i.Home, "."+i.Name+".lock"))
	if ok, _ := l.TryLock(); !ok {
		wait, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if _, err := l.TryLockContext(wait, 100*time.Millisecond); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, proto.Errorf(proto.Busy, "another run is at work on the VM %s", i.Name).WithHint("wait until it has ended")
		}
	}
	return func() { _ = l.Unlock() }, nil
}

// Use keeps the VM from being restarted, stopped or removed by another run, for
// as long as this one has something going on in it; several may at once. Alone
// waits for nobody: if others use the VM, its error is a *proto.Error with code Busy.
func (i Instance) Use(ctx context.Context) (done func(), err error) { return i.use(ctx, true) }

// Alone is for who restarts, stops or removes the VM.
func (i Instance) Alone(ctx context.Context) (done func(), err error) { return i.use(ctx, false) }

func (i Instance) use(ctx context.Context, shared bool) (done func(), err error) {
	if err := os.MkdirAll(i.Home, 0o700); err != nil {
		return nil, proto.Errorf(proto.Config, "cannot make the folder of the VM: %w", err)
	}
	l := flock.New(filepath.Join(i.Home, "."+i.Name+".use"), flock.SetPermissions(0o600))
	try, patience := l.TryLockContext, time.Second
	if shared {
		try, patience = l.TryRLockContext, stopPatience // somebody stops it, and then we start it
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if ok, err := try(wait, 50*time.Millisecond); !ok || err != nil {
		switch {
		case ctx.Err() != nil:
			return nil, proto.Errorf(proto.Interrupted, "interrupted while another run is at work in the VM")
		case err != nil && wait.Err() == nil:
			return nil, proto.Errorf(proto.Internal, "cannot lock the VM %s: %w", i.Name, err)
		}
		return nil, proto.Errorf(proto.Busy, "another run is at work in the VM %s", i.Name).WithHint("wait until it has ended")
	}
	return func() { _ = l.Unlock() }, nil
}

// tailLines are the last n lines of the file, empty ones left out.
func tailLines(file string, n int) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Size() > 64<<10 {
		_, _ = f.Seek(-64<<10, 2)
	}
	var lines []string
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if s := strings.TrimRight(sc.Text(), "\r "); s != "" {
			lines = append(lines, s)
		}
	}
	return lines[max(0, len(lines)-n):]
}
