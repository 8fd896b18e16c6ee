//go:build linux

package ops

import (
	"path"
	"time"

	"fuseless/guest/store"
)

// now is the wall clock, which may jump: somebody sets it, or a machine wakes up.
// The tests have one of their own.
var now = time.Now

// apart is how far the clocks of two machines may be apart for both to be
// believed. The trash is kept for days, and what is removed from it must be old by
// both clocks: so less than a day does no harm.
const apart = 24 * time.Hour

// timeAt is the time at the vault, by the clock of whatever stores it: that of a
// file which is made in dir for this.
func (b *backup) timeAt(st store.FS, dir string) (time.Time, error) {
	probe := path.Join(dir, probePrefix+b.stamp)
	_ = st.Remove(probe) // of a try in which the link broke
	if err := st.Create(probe, nil); err != nil {
		return time.Time{}, err
	}
	fi, err := st.Lstat(probe)
	if rerr := st.Remove(probe); err == nil {
		err = rerr
	}
	if err != nil {
		return time.Time{}, err
	}
	return fi.ModTime(), nil
}

// span is d in words, for a difference of at least hours.
func span(d time.Duration) string {
	if d < 0 {
		d = -d
	}
	if h := d.Round(time.Hour) / time.Hour; h < 48 {
		return count(int64(h), "hour", "hours")
	}
	return count(int64(d.Round(24*time.Hour)/(24*time.Hour)), "day", "days")
}

// later is the one of two times that comes after the other.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
