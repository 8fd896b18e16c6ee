//go:build linux

package ops

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/proc"
)

const headless = "FUSELESS_TEST_HEADLESS"

// A process whose first thread has ended, and which ends with its standard input.
func init() {
	if os.Getenv(headless) == "" {
		return
	}
	runtime.LockOSThread()
	begun := make(chan struct{})
	go func() {
		close(begun)
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	<-begun
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
}

// A process is not gone, with the port that it has, before its last thread is.
func TestWaitGone(t *testing.T) {
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), headless+"=1", "GOMAXPROCS=4")
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close(); _ = c.Wait() }()
	id := identify(c.Process.Pid)
	for end := time.Now().Add(20 * time.Second); id.alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the first thread does not end")
		}
	}
	if _, err := proc.StartTime(id.Pid); !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() { id.waitGone(time.Minute); close(gone) }()
	select {
	case <-gone:
		t.Fatal("gone, though a thread lives")
	case <-time.After(200 * time.Millisecond):
	}
	_ = stdin.Close()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Fatal("not gone")
	}
	identity{Pid: os.Getpid(), Start: 1}.waitGone(time.Minute) // another process has its number
}
