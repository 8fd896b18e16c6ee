package state

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"fuseless/guest/rundir"
)

// settledFor is how long a vault counts as settled after its own files were last
// compared: what nothing here can see, as a run from another configuration, must
// not keep them from being compared for ever.
const settledFor = 7 * 24 * time.Hour

// A vault is settled if its last run ended well and found gocryptfs's own files
// in it as they should be. The file that says so is removed, for good, before
// the next run begins, so that one which is killed leaves the vault unsettled;
// to remove a file needs no space. It holds the time of the comparison.
func (d Dir) settledFile() string { return filepath.Join(d.path, "settled") }

// Settled is when gocryptfs's own files in the vault were last compared, if
// nothing was begun since that could have changed them; else zero.
func (d Dir) Settled(now time.Time) time.Time {
	b, err := os.ReadFile(d.settledFile())
	if err != nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, string(b))
	if err != nil || t.After(now.Add(time.Minute)) || now.Sub(t) > settledFor {
		return time.Time{} // a clock went wrong, or it is old
	}
	return t
}

// Unsettle is to be called before a run that writes to the vault.
func (d Dir) Unsettle() error {
	err := os.Remove(d.settledFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		return rundir.StateError(d.path, "cannot note that a backup begins", err)
	}
	return nil
}

// Settle is to be called after a run that ended well. compared is the time of
// the last comparison; zero leaves the vault unsettled. It is a hint: that it
// cannot be written costs the next run a pass.
func (d Dir) Settle(compared time.Time) {
	if !compared.IsZero() {
		_ = renameio.WriteFile(d.settledFile(), []byte(compared.UTC().Format(time.RFC3339)), 0o600)
	}
}
