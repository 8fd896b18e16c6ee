//go:build linux

package ops

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/proc"
)

// waitGone waits at most limit until nothing is left of a process that was killed. It counts as
// ended when its first thread has; another one, which waits for an answer of a mount, has all its
// files and ports open until then.
func (i identity) waitGone(limit time.Duration) {
	if i.Pid > 0 && proc.Remains(i.Pid, i.Start) {
		pidfdWait(i.Pid, limit)
	}
}

// pidfdWait waits at most limit for the process to end (pidfd_open(2)).
func pidfdWait(pid int, limit time.Duration) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(limit)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
