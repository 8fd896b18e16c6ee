package bridge

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fuseless/guest/remote"
	"fuseless/magefiles/throwaway"
)

// The test binary is also the commands that it tests: `dial`, as sshfs and
// rsync run it, and the daemon.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "dial":
		os.Exit(remote.Command(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	case Name:
		Main()
	}
	os.Exit(m.Run())
}

// rig is a throwaway remote with a bridge to it.
type rig struct {
	t      *testing.T
	dir    string // of everything
	root   string // the remote's login folder
	vault  string // the vault in it
	server *throwaway.Server
	remote Remote
	socket string
	dial   string // the dial command
	log    *logger
}

// newRig makes the remote; listen starts the bridge.
func newRig(t *testing.T) *rig {
	t.Helper()
	for _, p := range []string{"ssh", "rsync"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(p, "is not installed")
		}
	}
	dir, err := os.MkdirTemp("", "br") // short: sockets live in it
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{t: t, dir: dir, root: filepath.Join(dir, "root"), log: &logger{}}
	r.vault = filepath.Join(r.root, "vault")
	r.socket = filepath.Join(dir, "run", "s")
	r.dial = filepath.Join(dir, "dial")
	must(t, os.MkdirAll(r.vault, 0o755))
	must(t, os.Mkdir(filepath.Dir(r.socket), 0o700))
	self, err := os.Executable()
	must(t, err)
	must(t, os.Symlink(self, r.dial))
	r.server, err = throwaway.Start(t.Context(), r.root, filepath.Join(dir, "keys"))
	must(t, err)
	t.Cleanup(func() { r.server.Close() })
	r.remote = Remote{Target: throwaway.Alias, Path: "vault", Trash: "../vault.trash", SSHConfig: r.server.SSHConfig}
	return r
}

// listen starts the bridge in this process; stop ends it and waits.
func (r *rig) listen() (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := Listen(r.socket)
	must(r.t, err)
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, r.remote, r.log.printf) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			must(r.t, err)
		case <-time.After(20 * time.Second):
			r.t.Error("the bridge does not end")
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// rsync runs rsync with the dial command.
func (r *rig) rsync(args ...string) (stdout, stderr string, err error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "rsync", append([]string{"-e", r.dial}, args...)...)
	cmd.Env = append(os.Environ(), remote.SocketVariable+"="+r.socket)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

type logger struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logger) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.b, format+"\n", args...)
}

func (l *logger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what has no event to wait for: another process.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("in vain: ", what)
		}
	}
}

// processes are the pids of those with text in their command line.
func processes(t *testing.T, text string) (pids []int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		out, _ := exec.Command("pgrep", "-f", "--", text).Output() // 1: there are none
		for f := range strings.FieldsSeq(string(out)) {
			pid, err := strconv.Atoi(f)
			must(t, err)
			pids = append(pids, pid)
		}
		return pids
	}
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, d := range dirs {
		b, err := os.ReadFile(d)
		if err == nil && strings.Contains(strings.ReplaceAll(string(b), "\x00", " "), text) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(d)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// run runs a command of the test's own and fails if that does.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// A process that stays in the background holds a pipe: use files.
	out, err := os.CreateTemp("", "out")
	must(t, err)
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	b, _ := os.ReadFile(out.Name())
	if err != nil {
		t.Fatalf("%s: %v\n%s", argv, err, b)
	}
	return string(b)
}
