//go:build linux

package ops

import (
	"context"
	"errors"
	"io/fs"

	"fuseless/guest/mounts"
)

// readAhead is how far the kernel reads ahead in the files of a mount of the remote
// and of the view on it, in KiB. With the 128 that a FUSE mount has, 128 MiB over 40 ms
// and 200 Mbit/s took 29 s, with this 6.2 (`mage bench remote`).
const readAhead = 4096

// setReadAhead sets it for a mount that answers. Where that is not allowed, reading
// is slower, and that is said once.
func (r *run) setReadAhead(ctx context.Context, mountpoint string) {
	err := mounts.SetReadAhead(ctx, mountpoint, readAhead)
	if err == nil || r.slow {
		return
	}
	r.slow = true
	if errors.Is(err, fs.ErrPermission) {
		r.note("large files come slowly over a long link: only root may let the kernel read further ahead (read_ahead_kb)")
		return
	}
	r.note("large files come slowly over a long link: cannot let the kernel read further ahead: " + err.Error())
}
