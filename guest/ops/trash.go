//go:build linux

package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// stampTime is how the trash's folders begin: UTC, sortable, and made of
// characters that no remote shell minds. Milliseconds and a Z follow, since two
// runs may begin within a second, and from the second pass of a run its number.
const stampTime = "20060102T150405"

func stampOf(t time.Time) string {
	return fmt.Sprintf("%s%03dZ", t.UTC().Format(stampTime), t.Nanosecond()/1e6)
}

const (
	// probePrefix begins the names of what is made only to see whether, or when, it
	// can be made. Whatever has such a name may go.
	probePrefix = ".fuseless-probe-"
	// gonePrefix begins the name of a folder of the trash from the moment on at
	// which it is being removed. A removal that breaks would otherwise leave an entry
	// which seems whole, and new: what is taken out of a folder changes its time.
	gonePrefix = ".fuseless-gone-"
)

// expiry is when an entry of the trash that was made at t is due; keep is in
// days, and more than 0.
func expiry(t time.Time, keep int) time.Time { return t.UTC().AddDate(0, 0, keep) }

// ahead tells whether an entry of the trash was made in what is, by the clock,
// the future: the clock is wrong, or was. Clocks of two machines may differ a
// little.
func ahead(t, now time.Time) bool { return t.After(now.Add(time.Hour)) }

// trashRuns is what lies in the trash, without counts; an absent trash is an
// empty one. An entry is one run: its folders are those of its passes. Only
// folders that have a name that we gave are in it. leavings are what
// broken runs left there.
func trashRuns(st store.FS, d proto.Destination, now time.Time) (res *proto.TrashResult, leavings []string, err error) {
	entries, err := st.ReadDir(d.Trash)
	if errors.Is(err, fs.ErrNotExist) {
		return &proto.TrashResult{}, nil, nil
	}
	if err != nil {
		return nil, nil, proto.Errorf(proto.Remote, "cannot list the trash %s: %w", d.Trash, err).WithHint("check who may read it there")
	}
	res = &proto.TrashResult{}
	byBase := map[string]*proto.TrashRun{}
	for _, e := range entries {
		base, t, ok := proto.TrashStamp(e.Name())
		switch {
		case strings.HasPrefix(e.Name(), probePrefix), strings.HasPrefix(e.Name(), gonePrefix):
			leavings = append(leavings, e.Name())
			continue
		case !ok || !e.IsDir():
			res.Foreign++
			continue
		case byBase[base] == nil:
			byBase[base] = &proto.TrashRun{Name: base, Time: t}
		}
		byBase[base].Folders = append(byBase[base].Folders, e.Name())
		byBase[base].Changed = later(byBase[base].Changed, e.ModTime())
		if ahead(t, now) {
			res.Ahead = max(res.Ahead, base)
		}
	}
	for _, run := range byBase {
		// STAMP, STAMP-2, ..., STAMP-10
		slices.SortFunc(run.Folders, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
		res.Runs = append(res.Runs, *run)
	}
	slices.SortFunc(res.Runs, func(a, b proto.TrashRun) int { return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Name, b.Name)) })
	return res, leavings, nil
}

// prune removes the folders of the trash that are older than KeepDays; 0 keeps
// all. Only names that we gave are touched.
//
// No single clock is trusted with it. An entry must be due by our clock, by which
// it has its name, and by the clock of whatever stores the vault, from which the
// folder has its time: so one that is wrong, now or when the entry was made, removes
// nothing too early. And it must have been due when the last backup ended: where the
// vault lies on this machine there is only one clock, and a single run by a wrong one
// removes nothing then.
func (b *backup) prune(ctx context.Context) error {
	keep := b.Backup.KeepDays
	if keep <= 0 || !b.Backup.Known || b.result.Deleted == 0 && b.result.Transferred == 0 {
		// A run that changed nothing does not wait for it.
		return nil
	}
	if expiry(b.Backup.LastSuccess, keep).Before(b.started) {
		// A long pause, or a clock that went wrong. The next run may do it.
		return nil
	}
	st, back, err := b.store(ctx)
	if err != nil {
		return err
	}
	defer back()
	trash, leavings, err := trashRuns(st, b.Destination, b.started)
	if err != nil {
		return err
	}
	var gone []string
	for _, n := range leavings {
		if strings.HasPrefix(n, gonePrefix) {
			gone = append(gone, n)
		} else {
			_ = st.Remove(path.Join(b.Destination.Trash, n))
		}
	}
	if trash.Ahead != "" { // our clock, or the one then, is wrong
		b.warn(fmt.Sprintf("the trash has an entry whose date is to come, %s: is a clock wrong, or was it? nothing is removed from the trash", trash.Ahead))
		return nil
	}
	due := slices.DeleteFunc(trash.Runs, func(run proto.TrashRun) bool {
		return !expiry(run.Time, keep).Before(b.started) || expiry(run.Time, keep).After(b.Backup.LastSuccess)
	})
	if len(due)+len(gone) == 0 {
		return nil
	}
	if len(due) > 0 {
		theirs, err := b.timeAt(st, b.Destination.Trash)
		if err != nil {
			return err
		}
		if d := now().Sub(theirs); d.Abs() > apart {
			side := "ahead of"
			if d < 0 {
				side = "behind"
			}
			b.warn(fmt.Sprintf("this machine's clock is %s %s that of the remote: one of the two is wrong; nothing is removed from the trash", span(d), side))
			return nil
		}
		due = slices.DeleteFunc(due, func(run proto.TrashRun) bool { return !expiry(run.Changed, keep).Before(theirs) })
	}
	var old []string
	for _, run := range due {
		old = append(old, run.Folders...)
	}
	if len(old)+len(gone) == 0 {
		return nil
	}
	return b.step(ctx, proto.StepPrune, func() error {
		var failed []error
		for _, n := range append(gone, old...) {
			err := b.remove(ctx, st, n)
			if ctx.Err() != nil || errors.Is(err, proto.ErrLink) {
				return errors.Join(ctx.Err(), err)
			}
			if err != nil { // the others may well go
				failed = append(failed, fmt.Errorf("%s: %w", n, err))
			}
		}
		return errors.Join(failed...)
	})
}

// refresh gives what a long run put into the trash the time of its end, by the
// clock of whatever stores it. By its name it is as old as the begin of the run:
// prune would remove what was deleted an hour ago, if the run took longer than the
// trash is kept, or the machine slept so long in the middle of it.
func (b *backup) refresh(ctx context.Context) error {
	// Round: the monotonic clock stands still while a machine sleeps.
	if b.result.DryRun || now().Round(0).Sub(b.started.Round(0)) < apart {
		return nil
	}
	st, back, err := b.store(ctx)
	if err != nil {
		return err
	}
	defer back()
	trash, _, err := trashRuns(st, b.Destination, b.started)
	if err != nil {
		return err
	}
	for _, run := range trash.Runs {
		if run.Name != b.stamp {
			continue
		}
		for _, folder := range run.Folders {
			if _, err := b.timeAt(st, path.Join(b.Destination.Trash, folder)); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove removes a folder of the trash.
func (b *backup) remove(ctx context.Context, st store.FS, name string) error {
	dir := path.Join(b.Destination.Trash, name)
	if !strings.HasPrefix(name, gonePrefix) {
		gone := path.Join(b.Destination.Trash, gonePrefix+name)
		if err := st.Rename(dir, gone); err != nil {
			return err
		}
		dir = gone
	}
	return store.RemoveAll(ctx, st, dir)
}
