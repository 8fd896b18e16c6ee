//go:build linux

package ops

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
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
	// What a broken list has seen does not count.
	_, err := b.do(ctx, run, func() { clear(l.gone); clear(l.changed) })
	return l, err
}

// delete moves to the trash what both looks missed, if that is within the
// limit or was consented to. It moves exactly that, by name: a file which
// reappears is not touched, and one that vanishes only now waits for the next
// run.
func (b *backup) delete(ctx context.Context, first, second looked, res *rsync.Result) (held bool, err error) {
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
	for _, own := range []string{gocryptfs.ConfigName, "gocryptfs.diriv"} {
		if confirmed[own] {
			// The exclude file protects it, and the root always has one.
			return false, proto.Errorf(proto.Internal, "the encrypted image of the source has no %s; nothing was deleted", own)
		}
	}
	files := 0
	for p := range confirmed {
		if !strings.HasSuffix(p, "/") && !gocryptfs.Virtual(p) {
			files++
		}
	}
	// Without the directory IV of each folder, and the configuration.
	left := max(int(res.Stats.Files-2*res.Stats.Dirs-1), 0)
	if !b.consented(int64(len(confirmed)), files, left) {
		b.result.Held = int64(len(confirmed))
		b.result.Emptied = left == 0
		return true, nil
	}
	// A folder that is to become a file is in nobody's list, only what is in it.
	conflicts := 0
	for _, c := range res.Conflicts {
		if second.changed[c] {
			confirmed[c+"/"] = true
			conflicts++
		}
	}
	top := topmost(confirmed)
	if len(top) == 0 {
		return false, nil
	}
	if err := b.step(ctx, proto.StepDelete, func() error { return b.toTrash(ctx, confirmed, top) }); err != nil {
		return false, err
	}
	return false, b.settle(ctx, conflicts > 0)
}

// consented tells whether n entries, among them files of the user, may be moved
// to the trash with left files remaining.
func (b *backup) consented(n int64, files, left int) bool {
	o := b.Backup
	switch {
	case files == 0 && left > 0, !over(files, left):
		return true
	case !o.AllowDelete:
		return false
	case o.MaxDelete > 0: // a person was shown a number
		return n <= o.MaxDelete
	}
	return left > 0 // a flag in a script never empties a vault
}

// toTrash moves the topmost of the confirmed paths. That can be repeated: what
// has been moved is not there any more.
func (b *backup) toTrash(ctx context.Context, confirmed map[string]bool, top []string) error {
	for _, p := range slices.Sorted(maps.Keys(confirmed)) {
		b.change("*deleting", p)
	}
	trash := path.Join(b.Destination.Trash, b.stamp)
	begun := time.Now().Round(0) // by the wall clock: the other one stands still while a machine sleeps
	err := b.persist(ctx, func() error {
		if time.Since(begun) > silence {
			// The link was away for a while, and the looks are old.
			top = slices.DeleteFunc(top, func(p string) bool { return b.back(confirmed, p) })
		}
		st, back, err := b.store(ctx)
		if err != nil {
			return err
		}
		defer back()
		return store.Move(ctx, st, b.Destination.Path, trash, top)
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, proto.ErrLink), proto.CodeOf(err) != proto.Internal && err != nil:
		return err
	case err != nil:
		return proto.Errorf(proto.Remote, "cannot move deleted files to the trash: %w", err).
			WithHint("check who may write in %s and in %s, and that both are on one disk; nothing is lost", b.Destination.Label, b.Destination.Trash)
	}
	b.result.Deleted = int64(len(confirmed))
	b.result.Trash = trash
	return nil
}

// back tells whether the source has a path again that is confirmed to be gone,
// and takes it off that list. A folder that is to become a file goes all the same.
func (b *backup) back(confirmed map[string]bool, p string) bool {
	fi, err := os.Lstat(filepath.Join(b.image.Path, p))
	if errors.Is(err, fs.ErrNotExist) || err == nil && confirmed[p+"/"] && !fi.IsDir() {
		return false
	}
	for c := range confirmed {
		if c == p || strings.HasPrefix(c, p+"/") {
			delete(confirmed, c)
			b.result.Doubtful++
		}
	}
	return true
}

// settle is what remains after the moves, which changed the times of folders
// and made way for files that have the name of a former folder.
func (b *backup) settle(ctx context.Context, again bool) error {
	if !again {
		return b.step(ctx, proto.StepTransfer, func() error {
			run := b.rsync()
			run.DirTimes = true
			_, err := b.do(ctx, run, nil)
			return err
		})
	}
	// The image has been up for a while, and gocryptfs before 2.5.0 must not be
	// trusted with folders that were made meanwhile: a fresh one for the data, and
	// one more for its own files.
	if err := b.reopen(ctx); err != nil {
		return err
	}
	if err := b.step(ctx, proto.StepTransfer, func() error { _, err := b.send(ctx); return err }); err != nil {
		return err
	}
	if !b.version.Less(gocryptfs.FixedReverse) {
		return nil
	}
	if err := b.reopen(ctx); err != nil {
		return err
	}
	return b.virtual(ctx)
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
