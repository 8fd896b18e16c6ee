//go:build linux

package ops

import (
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/remote"
	"fuseless/guest/rsync"
	"fuseless/guest/store"
)

// trashDir is cipherDir for an entry of the trash: it fetches the entry into a
// folder beside the target and makes a vault of it. On the remote nothing is
// changed.
func (r *run) trashDir(ctx context.Context, _, to string) (cipher string, staged bool, err error) {
	var conf []byte
	var folders, sources []string
	var size int64
	look := func() error {
		st, err := r.connect(ctx)
		if err != nil {
			return err
		}
		defer st.Close()
		trash, _, err := trashRuns(st, r.Destination, now())
		if err != nil {
			return err
		}
		for i := range trash.Runs {
			if r.Restore.From.In(trash.Runs[i]) {
				if err := r.count(ctx, st, &trash.Runs[i]); err != nil {
					return err
				}
			}
		}
		if folders, err = r.Restore.From.Folders(trash.Runs); err != nil {
			return err
		}
		sources, size = nameSources(trash.Runs, folders), 0
		for _, f := range folders {
			t, err := walkTrash(ctx, st, path.Join(r.Destination.Trash, f))
			if err != nil {
				return err
			}
			size += t.bytes
		}
		conf, err = r.unlock(ctx, st)
		return err
	}
	err = r.step(ctx, proto.StepConnect, func() error { return r.persist(ctx, 0, nil, look) })
	if err != nil {
		return "", false, err
	}
	// One for each entry, so that a try that broke is not taken for another's.
	staging := to + stagingSuffix + "-" + folders[0]
	if err := trashFits(size, staging, to); err != nil {
		return "", false, err
	}
	if err := r.step(ctx, proto.StepFetch, func() error { return r.fetchTrash(ctx, folders, staging, conf) }); err != nil {
		return "", false, err
	}
	var w *whole
	if err := r.persist(ctx, 0, nil, func() error {
		w = &whole{run: r, root: staging, config: conf, names: sources}
		return w.make(ctx)
	}); err != nil {
		return "", false, err
	}
	for _, p := range w.lost {
		r.lost = append(r.lost, "trash: "+path.Join(folders[0], p)+": its name is neither in the vault nor in the trash any more")
	}
	for _, p := range w.again {
		r.note("a file changed, or went, while the backup was on, and is in the trash twice; not restored is " + path.Join(r.Destination.Trash, folders[0], p))
	}
	if len(folders) > 1 {
		r.note("that backup had several passes; where two of them replaced the same file, the first has what the backup before had, and is restored: give " +
			folders[1] + " to see the second's alone")
	}
	return staging, true, nil
}

// unlock reads the vault's configuration, and tries the passphrase on it.
func (r *run) unlock(ctx context.Context, st store.FS) ([]byte, error) {
	look, err := lookAt(st, r.Destination)
	if err != nil {
		return nil, err
	}
	if look.Damage != nil {
		return nil, look.Damage
	}
	if look.Config == nil {
		return nil, proto.Errorf(proto.Vault, "there is no vault at %s", r.Destination.Label).WithHint("check the destination")
	}
	_, err = gocryptfs.MasterKey(ctx, look.Config, r.Passphrase)
	return look.Config, err
}

// trashFits says whether the disk holds the entry twice, encrypted, of which
// size is known in bytes, and decrypted.
func trashFits(size int64, staging, to string) error {
	var have int64
	_ = filepath.WalkDir(staging, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if fi, err := d.Info(); err == nil {
				have += fi.Size()
			}
		}
		return nil
	})
	free, known := store.FreeOn(to)
	need := max(2*size-have, 0)
	if known && free < need+need/20 {
		return proto.Errorf(proto.NoSpace, "%s has room for %d MiB, and %d MiB are needed: the entry of the trash, encrypted and decrypted", to, free>>20, (need+need/20)>>20).
			WithHint("choose a larger disk with -to=DIR")
	}
	return nil
}

// fetchTrash fetches the folders of an entry into one. What an earlier pass of
// the run put there is what the backup before had: a later one does not replace
// it.
func (r *run) fetchTrash(ctx context.Context, folders []string, staging string, conf []byte) error {
	parsed, err := gocryptfs.ParseConfig(conf)
	if err != nil {
		return err
	}
	filters := []string{"- /" + gocryptfs.ConfigName, "- " + rsync.PartialDir}
	if parsed.DirIV() {
		filters = append(filters, "- gocryptfs.diriv") // computed, see whole
	}
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return proto.Errorf(proto.Source, "cannot make %s: %w", staging, err)
	}
	for i, f := range folders {
		run := r.fetchRun(staging)
		if run.Source = "fuseless:" + remote.TrashPath + "/" + f + "/"; r.Destination.Local {
			run.Source, run.Dial, run.Socket, run.Explain = path.Join(r.Destination.Trash, f)+"/", "", "", nil
		}
		run.Existing = i > 0
		run.Filters = filters
		run.OnProgress = func(p proto.Progress) { r.event(proto.Event{Kind: proto.KindProgress, Progress: &p}) }
		out, err := r.persistRun(ctx, run)
		if err != nil {
			r.note("what was fetched is kept, encrypted, in " + staging + ": the next try goes on from there")
			return err
		}
		if out.Code != 0 { // what could be fetched is decrypted all the same
			r.fetchFailed = true
			for _, l := range out.Errors {
				r.warn("fetch: " + l)
			}
		}
	}
	return nil
}
