//go:build linux

package ops

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// stampTime is how the trash's folders begin: UTC, sortable, and made of
// characters that no remote shell minds. Milliseconds and a Z follow, since two
// runs may begin within a second, and from the second pass of a run its number.
const stampTime = "20060102T150405"

var stampRE = regexp.MustCompile(`^(\d{8}T\d{6})(\d{3})?Z(-\d+)?$`)

func stampOf(t time.Time) string {
	return fmt.Sprintf("%s%03dZ", t.UTC().Format(stampTime), t.Nanosecond()/1e6)
}

// stamped is the time in a name that we gave; ok is false for any other.
func stamped(name string) (t time.Time, ok bool) {
	m := stampRE.FindStringSubmatch(name)
	if m == nil {
		return time.Time{}, false
	}
	t, err := time.Parse(stampTime, m[1])
	return t, err == nil
}

// prune removes the folders of the trash that are older than KeepDays; 0 keeps
// all. Only names that we gave are touched.
func (b *backup) prune(ctx context.Context) error {
	keep := b.Backup.KeepDays
	if keep <= 0 || (b.Backup.Known && b.result.Deleted == 0 && b.result.Transferred == 0) {
		// A run that changed nothing does not open another connection for it.
		return nil
	}
	limit := b.started.AddDate(0, 0, -keep)
	if b.Backup.LastSuccess.Before(limit) && b.Backup.Known {
		// A long pause, or a clock that went wrong. The next run may do it.
		return nil
	}
	st, err := store.Open(ctx, b.Destination)
	if err != nil {
		return err
	}
	defer st.Close()
	entries, err := st.ReadDir(b.Destination.Trash)
	if err != nil {
		return nil // there is no trash
	}
	var old []string
	for _, e := range entries {
		switch t, ok := stamped(e.Name()); {
		case strings.HasPrefix(e.Name(), ".fuseless-probe-"):
			_ = st.Remove(path.Join(b.Destination.Trash, e.Name()))
		case !ok || !e.IsDir():
		case t.After(b.started.Add(time.Hour)):
			return nil // our clock, or the one then, is wrong
		case t.Before(limit):
			old = append(old, e.Name())
		}
	}
	if len(old) == 0 {
		return nil
	}
	return b.step(ctx, proto.StepPrune, func() error {
		for _, n := range old {
			if err := store.RemoveAll(ctx, st, path.Join(b.Destination.Trash, n)); err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
		}
		return nil
	})
}
