package hostmount

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"fuseless/guest/proc"
	"fuseless/magefiles/privilege"
)

const (
	uploadLook  = 2 * time.Second // between two looks at what davfs2 has done
	noticeAfter = 2 * time.Second // of waiting
)

// How long a davfs2 may do nothing. Replaced in tests.
var (
	uploadPatience = writeTimeout + time.Minute // it gives a request up before
	forcePatience  = 30 * time.Second           // with Spec.Force
)

// whileUploading is ctx until the davfs2 daemons pids have done nothing for
// patience; its cause then says so. However long an upload takes, it is waited
// for as long as it moves: davfs2 reads the file from its cache as it sends it,
// and /proc/PID/io (proc(5)) counts what it reads.
func whileUploading(ctx context.Context, spec Spec, pids []int, patience time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		start := time.Now()
		moved, seen, told := start, "", false
		tick := time.NewTicker(min(uploadLook, patience/4))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if now := work(ctx, pids); now != seen {
				moved, seen = time.Now(), now
			}
			if !told && spec.Notice != nil && time.Since(start) >= noticeAfter {
				spec.Notice("waiting for davfs2 to upload what was written into " + spec.Mountpoint)
				told = true
			}
			if time.Since(moved) >= patience {
				cancel(fmt.Errorf("it has uploaded nothing for %v", patience))
				return
			}
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// work changes with everything that the processes pids read or write. A file of
// another user's process is root's to read.
func work(ctx context.Context, pids []int) (s string) {
	for _, pid := range pids {
		io, _ := privilege.Output(ctx, proc.Cmd{Argv: []string{"cat", "/proc/" + strconv.Itoa(pid) + "/io"}})
		s += string(io)
	}
	return s
}
