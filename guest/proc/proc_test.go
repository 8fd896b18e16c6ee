package proc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSecretsArriveThroughDescriptors(t *testing.T) {
	long := bytes.Repeat([]byte("exclude me\n"), 20_000) // longer than a pipe holds
	out, err := Output(t.Context(), Cmd{
		Argv:    []string{"cat", "/dev/fd/3", "/dev/fd/4"},
		Secrets: [][]byte{[]byte("geheim\n"), long},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "geheim\n" + string(long); string(out) != want {
		t.Errorf("got %d bytes, want %d", len(out), len(want))
	}
}

func TestEnvironmentIsStripped(t *testing.T) {
	for _, k := range []string{"FUSELESS_X", "RSYNC_RSH", "GOCRYPTFS_PASSWORD", "LANG"} {
		t.Setenv(k, "leak")
	}
	out, err := Output(t.Context(), Cmd{Argv: []string{"env"}, Env: []string{"FUSELESS_REMOTE=/s"}})
	if err != nil {
		t.Fatal(err)
	}
	if s := string(out); strings.Contains(s, "leak") || !strings.Contains(s, "LC_ALL=C\n") || !strings.Contains(s, "FUSELESS_REMOTE=/s\n") {
		t.Errorf("environment: %s", s)
	}
}

func TestExitCodeAndMessage(t *testing.T) {
	err := Run(t.Context(), Cmd{Argv: []string{"sh", "-c", "echo broken >&2; exit 23"}})
	if ExitCode(err) != 23 || !strings.Contains(err.Error(), "sh: exit status 23: broken") {
		t.Errorf("got %d, %v", ExitCode(err), err)
	}
	if err := Run(t.Context(), Cmd{Argv: []string{"/nonexistent/program"}}); err == nil || ExitCode(err) != -1 {
		t.Errorf("got %v", err)
	}
}

// A cancelled command ends with everything that it started, and it had no
// terminal to ask anything on.
func TestCancelEndsTheGroup(t *testing.T) {
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "pid")
	if err := syscall.Mkfifo(filepath.Join(dir, "ready"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Cmd{Dir: dir, Argv: []string{"sh", "-c",
			"(: </dev/tty) 2>/dev/null && echo tty >pid; sleep 1000 & echo $! >>pid; echo >ready; wait"}})
	}()
	if _, err := os.ReadFile(filepath.Join(dir, "ready")); err != nil { // blocks until it writes
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it did not end")
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatalf("it had a terminal: %q", b)
	}
	// Without a reaper a killed orphan stays a zombie, which StartTime counts as gone.
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := StartTime(pid); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the grandchild still lives")
		}
		time.Sleep(5 * time.Millisecond) // the kernel has no event for a process that is not ours
	}
}

func TestDaemonIsIdentified(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	d, err := StartDaemon(Cmd{Argv: []string{"sh", "-c", "echo up; read x </dev/fd/3; exec sleep 1000"}, Secrets: [][]byte{[]byte("go\n")}}, log)
	if err != nil {
		t.Fatal(err)
	}
	start, err := StartTime(d.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !Alive(d.Pid, start) || Alive(d.Pid, start+1) {
		t.Error("a process is known by pid and start time")
	}
	d.Kill()
	if Alive(d.Pid, start) {
		t.Error("it lives after Kill")
	}
	if fi, err := os.Stat(log); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("log: %v %v", fi, err)
	}
}

func TestDaemonThatFailsSaysWhy(t *testing.T) {
	d, err := StartDaemon(Cmd{Argv: []string{"sh", "-c", "echo no such luck; exit 12"}}, filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	err = <-d.Ended
	if ExitCode(err) != 12 || !strings.Contains(Stderr(err), "no such luck") {
		t.Errorf("got %v", err)
	}
}
