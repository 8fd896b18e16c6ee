//go:build linux

package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"fuseless/guest/gocryptfs"
)

// nameKey is a view's name key on its way to gocryptfs, whose process keeps it for a server: in
// a file in memory that has no name (memfd_create(2)).
type nameKey struct {
	file   *os.File // nil: there will be none
	cancel context.CancelFunc
	done   chan struct{}
	there  bool // once done is closed: it is in the file
}

// keepNameKey begins to derive the name key, while gocryptfs begins. Without it all works, and
// folders with long names are listed slower. Nobody has it for a vault that is written to: a folder could be
// another one by the time that it is listed.
func (r *run) keepNameKey(ctx context.Context, config []byte) *nameKey {
	ctx, cancel := context.WithCancel(ctx)
	k := &nameKey{cancel: cancel, done: make(chan struct{})}
	if !r.Destination.Local && !r.Writable {
		fd, err := unix.MemfdCreate("names", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
		if err == unix.EINVAL { // before Linux 6.3
			fd, err = unix.MemfdCreate("names", unix.MFD_CLOEXEC)
		}
		if err == nil {
			k.file = os.NewFile(uintptr(fd), "names")
		}
	}
	go func() {
		defer close(k.done)
		if k.file == nil {
			return
		}
		if key, err := gocryptfs.UnlockNames(ctx, config, r.Passphrase); err == nil {
			k.there = json.NewEncoder(k.file).Encode(key) == nil
		}
	}()
	return k
}

// wait returns whether there is a key.
func (k *nameKey) wait() bool {
	<-k.done
	return k.there
}

// close lets gocryptfs alone have it.
func (k *nameKey) close() {
	k.cancel()
	<-k.done
	if k.file != nil {
		k.file.Close()
	}
}

// keptNameKey is the name key that the view's gocryptfs keeps; nil if there is none.
func (r *run) keptNameKey() *os.File {
	var view viewFile
	if !readJSON(r.viewPath()+".json", &view) || view.NameKey == 0 || !view.alive() {
		return nil
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/fd/%d", view.Pid, view.NameKey))
	if err != nil {
		return nil
	}
	return f
}
