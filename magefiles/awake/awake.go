// Package awake keeps the machine from going to sleep by itself while work
// runs. Closing a lid still may. Where the system has no means for it, or
// refuses, nothing happens: no work fails because of it.
package awake

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"fuseless/guest/proc"
)

// endTime is how long stop waits for the system's program to end.
const endTime = 2 * time.Second

// Argv is the program that keeps a system awake, or nil if there is none.
// why is what the system shows as the reason.
//
// caffeinate(8) of macOS: -i prevents the system from idle sleeping, -w waits
// for the process with this pid to end. systemd-inhibit(1) holds its lock while
// the command runs; `cat` runs until its standard input ends. Neither asks for
// anything: logind's policy allows these locks to local users and refuses them
// to others (org.freedesktop.login1.policy), and there is no terminal.
func Argv(goos string, pid int, why string) []string {
	switch goos {
	case "darwin":
		return []string{"caffeinate", "-i", "-w", strconv.Itoa(pid)}
	case "linux":
		return []string{"systemd-inhibit", "--what=sleep:idle", "--who=fuseless", "--why=" + why, "--mode=block", "cat"}
	}
	return nil
}

// Start keeps the machine awake until stop is called, or this process ends,
// however it ends.
func Start(why string) (stop func()) {
	argv := Argv(runtime.GOOS, os.Getpid(), why)
	if argv == nil {
		return func() {}
	}
	// Its end is what tells `cat` that we are gone. Only we have the other one:
	// Go's descriptors are closed in children.
	r, w, err := os.Pipe()
	if err != nil {
		return func() {}
	}
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir = "/"
	c.Env = proc.Environ()
	c.Stdin = r
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal, and no Ctrl-C
	err = c.Start()
	r.Close()
	if err != nil {
		w.Close()
		return func() {}
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait() // it ends at once where there is no logind
		close(ended)
	}()
	return func() {
		w.Close()
		select {
		case <-ended:
			return
		default:
		}
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(endTime):
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	}
}
