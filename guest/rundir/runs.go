package rundir

import (
	"os"
	"strings"
	"time"
)

// RunPrefix begins the names of the folders that single runs have in a vault's folder,
// from before they change anything until after. One that was killed leaves its own.
const RunPrefix = "run-"

// QuietSince tells whether no run was at work in a vault's folder since a time, by the
// wall clock: each changes the folder when it begins and when it ends. It is false where
// that cannot be seen.
func QuietSince(dir string, t time.Time) bool {
	// The entries before the time, which changes when a run begins or ends in between.
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), RunPrefix) {
			return false
		}
	}
	fi, err := os.Stat(dir)
	return err == nil && fi.ModTime().Before(t.Round(0))
}
