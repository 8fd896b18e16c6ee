//go:build linux

package ops

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/mounts"
)

// How long a mount that is to be taken down may take to answer: one that is written to
// may have to send first what is on its way.
const (
	answerTime         = time.Second
	answerTimeWritable = 10 * time.Second
)

// endHung kills the processes of mounts that do not answer, because the link is
// dead, or because they were stopped. Whoever waits for them is freed with an
// error, and then everything can be taken down in order; otherwise each part
// would wait for the one below it. Nothing is lost: what the server has answered is
// on the remote's disk, and what it has not, its client still has.
func (r *run) endHung() {
	limit := answerTime
	if r.viewWritable() {
		limit = answerTimeWritable
	}
	var all sync.WaitGroup
	for _, name := range []string{"view", "remote"} {
		all.Go(func() {
			mp := r.file(name)
			var id identity
			if r.hangs(mp, limit) && readJSON(mp+".json", &id) && id.alive() {
				_ = syscall.Kill(id.Pid, syscall.SIGKILL)
				pidfdWait(id.Pid, answerTime)
			}
		})
	}
	all.Wait()
}

// hangs says whether something is mounted on mp and does not answer.
func (r *run) hangs(mp string, limit time.Duration) bool {
	m, err := mounts.Find(mp)
	return err == nil && m != nil && !answersWithin(mp, limit)
}

// answersWithin asks the file system at path itself; also an error is an answer.
func answersWithin(path string, limit time.Duration) bool {
	done := make(chan struct{})
	go func() { // ends at the latest with the process that is asked
		var st unix.Statfs_t
		_ = unix.Statfs(path, &st)
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}
