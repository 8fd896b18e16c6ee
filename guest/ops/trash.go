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

// expiry is when an entry of the trash that was made at t is due; keep is in
// days, and more than 0.
func expiry(t time.Time, keep int) time.Time { return t.UTC().AddDate(0, 0, keep) }

// ahead tells whether an entry of the trash was made in what is, by the clock,
// the future: the clock is wrong, or was. Clocks of two machines may differ a
// little.
func ahead(t, now time.Time) bool { return t.After(now.Add(time.Hour)) }

// trashRuns is what lies in the trash, without counts; an absent trash is an
// empty one. An entry is one run: its folders are those of its passes. Only
// folders that have a name that we gave are in it. probes are what a broken
// try of the trash left.
func trashRuns(st store.FS, d proto.Destination, now time.Time) (res *proto.TrashResult, probes []string, err error) {
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
		case strings.HasPrefix(e.Name(), ".fuseless-probe-"):
			probes = append(probes, e.Name())
			continue
		case !ok || !e.IsDir():
			res.Foreign++
			continue
		case byBase[base] == nil:
			byBase[base] = &proto.TrashRun{Name: base, Time: t}
		}
		byBase[base].Folders = append(byBase[base].Folders, e.Name())
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
	return res, probes, nil
}

// prune removes the folders of the trash that are older than KeepDays; 0 keeps
// all. Only names that we gave are touched.
func (b *backup) prune(ctx context.Context) error {
	keep := b.Backup.KeepDays
	if keep <= 0 || (b.Backup.Known && b.result.Deleted == 0 && b.result.Transferred == 0) {
		// A run that changed nothing does not wait for it.
		return nil
	}
	if b.Backup.Known && expiry(b.Backup.LastSuccess, keep).Before(b.started) {
		// A long pause, or a clock that went wrong. The next run may do it.
		return nil
	}
	st, back, err := b.store(ctx)
	if err != nil {
		return err
	}
	defer back()
	trash, probes, err := trashRuns(st, b.Destination, b.started)
	if err != nil {
		return err
	}
	for _, p := range probes {
		_ = st.Remove(path.Join(b.Destination.Trash, p))
	}
	if trash.Ahead != "" { // our clock, or the one then, is wrong
		b.warn(fmt.Sprintf("the trash has an entry whose date is to come, %s: is a clock wrong, or was it? nothing is removed from the trash", trash.Ahead))
		return nil
	}
	var old []string
	for _, run := range trash.Runs {
		if expiry(run.Time, keep).Before(b.started) {
			old = append(old, run.Folders...)
		}
	}
	if len(old) == 0 {
		return nil
	}
	return b.step(ctx, proto.StepPrune, func() error {
		var failed []error
		for _, n := range old {
			err := store.RemoveAll(ctx, st, path.Join(b.Destination.Trash, n))
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
