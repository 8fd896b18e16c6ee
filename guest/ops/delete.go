//go:build linux

package ops

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/rsync"
	"fuseless/guest/store"
)

// looked is what one look at image and vault found.
type looked struct {
	gone    map[string]bool // encrypted paths that only the vault has; folders end in a slash
	changed map[string]bool // paths that are, in the image, something else than a folder and differ
}

// candidates asks rsync, in a dry run, what it would delete.
func (b *backup) candidates(ctx context.Context) (looked, error) {
	l := looked{gone: map[string]bool{}, changed: map[string]bool{}}
	run := b.rsync()
	run.DryRun, run.Delete, run.MaxDelete, run.Force = true, true, -1, true
	run.Checksum = false // it compares what exists on both sides, which is not the question
	run.OnChange = func(what, p string) {
		if what == "*deleting" {
			l.gone[p] = true
		} else if len(what) > 1 && what[1] != 'd' {
			l.changed[p] = true
		}
	}
	res, err := run.Do(ctx)
	if err != nil {
		return l, err
	}
	if res.Code != 0 {
		b.result.Incomplete = true
		b.fault(res)
	}
	return l, nil
}

// delete moves to the trash what both looks missed, if that is within the
// limit or was consented to. It moves exactly that, by name: a file which
// reappears is not touched, and one that vanishes only now waits for the next
// run.
func (b *backup) delete(ctx context.Context, first, second looked, conflicts []string, stats rsync.Stats) (held bool, err error) {
	if b.result.Incomplete {
		return false, nil
	}
	confirmed := map[string]bool{}
	for p := range first.gone {
		if second.gone[p] {
			confirmed[p] = true
		} else {
			b.result.Doubtful++
		}
	}
	for p := range second.gone {
		if !first.gone[p] {
			b.result.Doubtful++
		}
	}
	files := 0
	for p := range confirmed {
		if !strings.HasSuffix(p, "/") && !gocryptfs.Virtual(p) {
			files++
		}
	}
	left := int(stats.Files - 2*stats.Dirs - 1) // without the directory IV of each folder, and the configuration
	if over(files, max(left, 0)) && !b.Backup.AllowDelete {
		b.result.Held = int64(len(confirmed))
		return true, nil
	}
	// A folder that is to become a file is in nobody's list, only what is in it.
	for _, c := range conflicts {
		if second.changed[c] {
			confirmed[c+"/"] = true
		}
	}
	top := topmost(confirmed)
	if len(top) == 0 {
		return false, nil
	}
	err = b.step(ctx, proto.StepDelete, func() error {
		st, err := store.Open(ctx, b.Destination)
		if err != nil {
			return err
		}
		defer st.Close()
		for _, p := range slices.Sorted(maps.Keys(confirmed)) {
			b.change("*deleting", p)
		}
		if err := store.Move(ctx, st, b.Destination.Path, path.Join(b.Destination.Trash, b.trash), top); err != nil {
			return proto.Errorf(proto.Remote, "cannot move deleted files to the trash: %w", err).
				WithHint("check that %s may be written; nothing is lost", b.Destination.Trash)
		}
		b.result.Deleted = int64(len(confirmed))
		b.result.Trash = path.Join(b.Destination.Trash, b.trash)
		// Once more: the moves changed the times of folders, and made way for
		// files that have the name of a former folder.
		res, err := b.send(ctx)
		if err != nil {
			return err
		}
		if _, only := res.Conflicts(); res.Code == rsync.ExitPartial && !only || res.Code == rsync.ExitVanished {
			b.result.Incomplete = true
			b.fault(res)
		}
		return nil
	})
	return false, err
}

// over tells whether deleting n files, with left remaining, needs consent.
func over(n, left int) bool {
	return n > maxDeleteFiles || n*100 > (n+left)*maxDeletePercent
}

// topmost leaves out every path below another one of the set, and the slashes.
func topmost(set map[string]bool) []string {
	var top []string
	for p := range set {
		covered := false
		for d := path.Dir(strings.TrimSuffix(p, "/")); d != "." && d != "/"; d = path.Dir(d) {
			if set[d+"/"] {
				covered = true
				break
			}
		}
		if !covered {
			top = append(top, strings.TrimSuffix(p, "/"))
		}
	}
	slices.Sort(top)
	return top
}

// prune removes the folders of the trash that are older than KeepDays; 0 keeps
// all. Only names that we gave are touched.
func (b *backup) prune(ctx context.Context) error {
	if b.Backup.KeepDays <= 0 || (b.Backup.Known && b.result.Deleted == 0 && b.result.Transferred == 0) {
		// A run that changed nothing does not open a second connection for it.
		return nil
	}
	var old []string
	st, err := store.Open(ctx, b.Destination)
	if err != nil {
		return err
	}
	defer st.Close()
	entries, err := st.ReadDir(b.Destination.Trash)
	if err != nil {
		return nil // there is no trash
	}
	limit := b.started.AddDate(0, 0, -b.Backup.KeepDays)
	for _, e := range entries {
		if t, err := time.Parse(trashTime, e.Name()); err == nil && t.Before(limit) && e.IsDir() {
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
