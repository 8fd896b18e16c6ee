package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/mounts"
)

// The descriptors on which a meter gets its job, and answers.
const (
	orderFD  = 3
	reportFD = 4
)

// killAgain is the time between two rounds of killing.
const killAgain = 100 * time.Millisecond

// beMeter is the process that start starts. Everything that the steps start becomes its child at the latest when its own parent ends (a
// child subreaper, prctl(2)), also a daemon such as gocryptfs, and is waited for:
// so getrusage(2) of its children is the whole CPU time, exactly, and nothing
// can be left running.
func beMeter() error {
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP)
	return meter(os.NewFile(orderFD, "order"), os.NewFile(reportFD, "report"))
}

func meter(order, report *os.File) error {
	unix.CloseOnExec(orderFD)
	unix.CloseOnExec(reportFD)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt orphans: %w", err)
	}
	var j job
	if err := json.NewDecoder(order).Decode(&j); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // its end is the order to end, or the end of who gave the job
		_, _ = io.Copy(io.Discard, order)
		cancel()
	}()
	var u usage
	begun := time.Now()
	for _, s := range j.Steps {
		if u.Error != "" && !s.Always {
			continue
		}
		if err := s.run(ctx); err != nil && u.Error == "" {
			u.Error = fmt.Sprintf("%s: %v", s, err)
		}
	}
	u.Wall = time.Since(begun)
	u.Left = reap(j.Grace)
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &r); err != nil {
		return fmt.Errorf("getrusage: %w", err)
	}
	u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	return json.NewEncoder(report).Encode(u)
}

func (s step) run(ctx context.Context) error {
	if s.Always {
		ctx = context.Background()
	}
	c := exec.CommandContext(ctx, s.Argv[0], s.Argv[1:]...)
	c.Dir = s.Dir
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = killedAfter
	return c.Run()
}

// reap waits for all children, and kills those that are there after grace. It
// returns their names.
func reap(grace time.Duration) (left []string) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	late := time.After(grace)
	for kill := false; ; {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.ECHILD) {
				return left
			}
			if pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if kill {
			// They are nobody's but ours to wait for, so their pids are theirs.
			for pid, p := range processes() {
				if p.parent == os.Getpid() && unix.Kill(pid, unix.SIGKILL) == nil && !slices.Contains(left, p.name) {
					left = append(left, p.name)
				}
			}
			late = time.After(killAgain) // their children become ours
		}
		select {
		case <-ended:
		case <-late:
			kill = true
		}
	}
}

// unmountBelow takes down whatever is mounted below a folder.
func unmountBelow(ctx context.Context, dir string) error {
	points, err := mounts.Below(dir)
	if err != nil {
		return err
	}
	for _, mp := range points {
		if _, err := mounts.Unmount(ctx, mp, 5*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// syncFolder makes everything of a folder's file system durable (syncfs(2)).
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
