//go:build linux

package ops

import (
	"context"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// virtual compares the contents of gocryptfs's own files, from a fresh mount:
// gocryptfs before 2.5.0 may have served wrong directory IVs for folders that
// were deleted and made while the first mount was up (gocryptfs#802).
func (b *backup) virtual(ctx context.Context) error {
	return b.step(ctx, proto.StepVirtual, func() error {
		run := b.rsync()
		run.Checksum = true
		run.Filters = []string{
			"+ */", "+ /" + gocryptfs.ConfigName, "+ gocryptfs.diriv", "+ gocryptfs.longname.*.name", "- *",
		}
		// Once for all tries, which are over one mount: what a broken one has sent, the
		// next one does not name.
		b.result.Compared = true
		run.OnChange = func(string, string) { b.result.Compared = false }
		_, err := b.do(ctx, run, nil)
		return err
	})
}

// settled tells whether gocryptfs's own files in the vault need no comparison: they
// were as they should be after the last run, and this one had nothing to do with
// any of them. What gocryptfs before 2.5.0 gets wrong is what is in them
// (gocryptfs#802), and rsync takes that from the image only where it names them.
func (b *backup) settled(suspects bool) bool {
	return b.Backup.Settled && !b.proof && !b.own && !suspects && !b.Backup.Checksum && !b.result.Incomplete
}
