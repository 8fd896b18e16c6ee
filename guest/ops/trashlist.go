//go:build linux

package ops

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/rsync"
	"fuseless/guest/store"
)

// trash tells what lies in the trash, and on request, which needs the
// passphrase, the names of the files of one entry. It changes nothing there.
func (r *run) trash(ctx context.Context) error {
	var res *proto.TrashResult
	var files []string // of the entry whose names are wanted, encrypted
	var st store.FS
	err := r.step(ctx, proto.StepConnect, func() (err error) {
		if st, err = r.connect(ctx); err != nil {
			return err
		}
		if res, _, err = trashRuns(st, r.Destination, now()); err != nil {
			return err
		}
		for i := range res.Runs {
			run := &res.Runs[i]
			if r.Trash.KeepDays > 0 {
				run.Expires = expiry(later(run.Time, run.Changed), r.Trash.KeepDays)
			}
			if r.Trash.Names == nil || r.Trash.Names.In(*run) {
				if err := r.count(ctx, st, run); err != nil {
					return err
				}
			}
		}
		if r.Trash.Names == nil {
			return nil
		}
		wanted, err := r.Trash.Names.Folders(res.Runs)
		if err != nil {
			return err
		}
		for _, f := range wanted {
			t, err := walkTrash(ctx, st, path.Join(r.Destination.Trash, f))
			if err != nil {
				return err
			}
			files = append(files, t.files...)
		}
		return nil
	})
	if st != nil {
		defer st.Close()
	}
	if err != nil {
		return err
	}
	if r.Trash.Names != nil {
		if err := r.trashNames(ctx, st, res, files); err != nil {
			return err
		}
	}
	r.event(proto.Event{Kind: proto.KindResult, Trash: res})
	return nil
}

// count counts what is in an entry.
func (r *run) count(ctx context.Context, st store.FS, run *proto.TrashRun) error {
	for _, f := range run.Folders {
		t, err := walkTrash(ctx, st, path.Join(r.Destination.Trash, f))
		if err != nil {
			return err
		}
		run.Files, run.Bytes, run.Unreadable = run.Files+int64(len(t.files)), run.Bytes+t.bytes, run.Unreadable+t.unreadable
	}
	return nil
}

// trashTree is what lies in one folder of the trash.
type trashTree struct {
	files      []string // of the user, below the folder: encrypted
	bytes      int64    // of everything
	unreadable int64    // folders that may not be listed
}

// listWidth is how many folders are listed at once: each takes round trips.
const listWidth = 16

func walkTrash(ctx context.Context, st store.FS, root string) (*trashTree, error) {
	t := &trashTree{}
	var mu sync.Mutex
	for level := []string{""}; len(level) > 0; {
		var next []string
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(listWidth)
		for _, dir := range level {
			g.Go(func() error {
				if err := gctx.Err(); err != nil {
					return err
				}
				entries, err := st.ReadDir(path.Join(root, dir))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, fs.ErrPermission):
					t.unreadable++
					return nil
				case errors.Is(err, fs.ErrNotExist): // somebody removed it meanwhile
					return nil
				case err != nil:
					return proto.Errorf(proto.Remote, "cannot list %s in the trash: %w", path.Join(root, dir), err).WithHint("run it again")
				}
				for _, e := range entries {
					p := path.Join(dir, e.Name())
					if e.Name() == rsync.PartialDir {
						continue
					}
					if e.IsDir() {
						next = append(next, p)
						continue
					}
					t.bytes += e.Size()
					if !gocryptfs.Virtual(p) {
						t.files = append(t.files, p)
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		level = next
	}
	slices.Sort(t.files)
	return t, nil
}

// trashNames decrypts names. gocryptfs wants folders for that, with their
// directory IVs, but no files: so a tree of folders is made for it, without
// anything of a file but its encrypted name.
func (r *run) trashNames(ctx context.Context, st store.FS, res *proto.TrashResult, files []string) (err error) {
	folders, err := r.Trash.Names.Folders(res.Runs)
	if err != nil {
		return err
	}
	var run *proto.TrashRun
	for i := range res.Runs {
		if slices.Contains(res.Runs[i].Folders, folders[0]) {
			run = &res.Runs[i]
		}
	}
	slices.Sort(files)
	files = slices.Compact(files) // two passes may have the same
	if over := len(files) - proto.MaxTrashNames; over > 0 {
		files, run.More = files[:proto.MaxTrashNames], int64(over)
	}
	if err := r.repair(ctx); err != nil {
		return err
	}
	conf, err := r.unlock(ctx, st)
	if err != nil {
		return err
	}
	tree := filepath.Join(r.state, "trash-names")
	if err := removeStaging(ctx, tree); err != nil { // of a killed run
		return err
	}
	dir, err := r.newRun()
	if err != nil {
		return err
	}
	defer func() {
		if rerr := r.removeRun(context.WithoutCancel(ctx), dir); err == nil {
			err = rerr
		}
		if rerr := removeStaging(context.WithoutCancel(ctx), tree); err == nil {
			err = rerr
		}
	}()
	return r.step(ctx, proto.StepDecrypt, func() error {
		for _, f := range files {
			if err := placeholder(tree, f); err != nil {
				return err
			}
		}
		w := whole{run: r, root: tree, config: conf, names: nameSources(res.Runs, folders)}
		if err := w.make(ctx); err != nil {
			return err
		}
		view := filepath.Join(dir, "view")
		if err := os.Mkdir(view, 0o700); err != nil {
			return err
		}
		m, err := gocryptfs.Start(ctx, tree, view, r.Passphrase, gocryptfs.Options{Socket: view + ".sock", Log: r.log("gocryptfs")})
		if err != nil {
			return err
		}
		defer m.Close(context.WithoutCancel(ctx))
		names, err := gocryptfs.OpenNames(ctx, m.Socket)
		if err != nil {
			return err
		}
		defer names.Close()
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return err
			}
			base, _ := numbered(f)
			plain, ok := names.Decrypt(base)
			if !ok {
				run.Lost++
				plain = path.Join(r.Destination.Trash, folders[0], f)
			}
			run.Names = append(run.Names, plain)
		}
		slices.SortFunc(run.Names, cmp.Compare[string])
		run.Names = slices.Compact(run.Names)
		return m.Check()
	})
}

// placeholder makes the folders above f below tree, and f itself, empty, if it
// has a long name: gocryptfs keeps that in a file beside it.
func placeholder(tree, f string) error {
	p := filepath.Join(tree, f)
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		return err
	}
	if base, _ := numbered(path.Base(f)); longName(base) {
		return os.WriteFile(filepath.Join(filepath.Dir(p), base), nil, 0o600)
	}
	return nil
}
