//go:build linux

package ops

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/mounts"
	"fuseless/guest/proto"
	"fuseless/guest/rsync"
	"fuseless/guest/store"
)

// stagingSuffix names the folder beside the target into which the encrypted
// files are fetched. It stays when the connection breaks, so that a second
// try goes on where the first ended.
const stagingSuffix = ".fuseless-restoring"

// restore gets a vault back: the encrypted files by rsync, then through a
// local gocryptfs into place. That keeps what sshfs would lose: times to the
// nanosecond and hard links. Where only a part is wanted, or the disk does not
// hold the vault twice, it reads through sshfs instead and says so.
func (r *run) restore(ctx context.Context) (err error) {
	started := time.Now()
	to := r.Restore.To
	if r.Restore.Only != "" && strings.Trim(r.Restore.Only, "/") == "" {
		return proto.Errorf(proto.Config, "-only=%s names nothing", r.Restore.Only).WithHint("leave -only out to restore everything")
	}
	if r.Destination.Local && (overlap(to, r.Destination.Path) || overlap(to, r.Destination.Trash)) {
		return proto.Errorf(proto.Config, "the folder %s and the vault lie inside each other", to).
			WithHint("choose another folder with -to=DIR: decrypted files do not belong into the vault")
	}
	if err := r.checkRestoreMount(); err != nil {
		return err
	}
	if err := r.repair(ctx); err != nil {
		return err
	}
	t, err := r.openTarget(to)
	if err != nil {
		return err
	}
	dir, err := r.newRun()
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if rerr := r.removeRun(context.WithoutCancel(ctx), dir); err == nil {
			err = rerr
		}
		t.finish(done)
	}()
	from := r.cipherDir
	if r.Restore.From != nil {
		from = r.trashDir
	}
	cipher, staged, err := from(ctx, dir, to)
	if err != nil {
		return err
	}
	out, complaints, err := r.decrypt(ctx, cipher, dir, to)
	if err != nil {
		return err
	}
	// Once more: what was written after the mount was lost is in the VM.
	if err := r.checkRestoreMount(); err != nil {
		return err
	}
	whole := out.Code == 0 && !r.fetchFailed && len(complaints) == 0 && len(r.lost) == 0
	if r.Restore.Only != "" && out.Stats.Created == 0 && out.Kept == 0 && whole {
		place := "vault"
		if r.Restore.From != nil {
			place = "trash of " + r.Restore.From.Text
		}
		return proto.Errorf(proto.Config, "nothing in the %s matches %q", place, r.Restore.Only).
			WithHint("the pattern is rsync's, on paths in the backup; `fuseless open` shows them")
	}
	done = whole
	if staged && whole {
		if err := removeStaging(ctx, cipher); err != nil {
			r.warn("cannot remove the fetched encrypted files: " + err.Error())
		}
	}
	r.event(proto.Event{Kind: proto.KindResult, Restore: &proto.RestoreResult{
		To: to, Files: out.Stats.Created, Bytes: out.Stats.Size, Existing: out.Kept,
		Reduced: !staged && !r.Destination.Local, Duration: time.Since(started),
	}})
	if whole {
		return nil
	}
	for _, l := range slices.Concat(r.lost, out.Errors, complaints) {
		r.warn(l)
	}
	return proto.Errorf(proto.Incomplete, "the restore of %s is incomplete: some files could not be read, decrypted or written", r.Vault).
		WithHint("see the messages above; run it again: what is there is left as it is")
}

// checkRestoreMount says whether the host's folder is mounted in the VM, and To
// in it, also where a link leads on.
func (r *run) checkRestoreMount() error {
	point := r.Restore.Mount
	if point == "" {
		return nil
	}
	if m, err := mounts.Find(point); err != nil || m == nil {
		return proto.Errorf(proto.Guest, "the folder to restore into is not mounted in the VM").
			WithHint("restart the VM: `fuseless down`, then `fuseless up`; then run it again")
	}
	dir := r.Restore.To
	for dir != point {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			dir = real
			break
		}
		if dir = filepath.Dir(dir); !overlap(dir, point) || len(dir) < len(point) {
			break
		}
	}
	if dir != point && !strings.HasPrefix(dir, point+"/") {
		return proto.Errorf(proto.Config, "%s leads out of the folder that the VM may restore into", r.Restore.To).
			WithHint("give the real path with -to=DIR")
	}
	return nil
}

// removeStaging is os.RemoveAll that also removes what is in folders which may
// not be written: the vault has the modes of the source.
func removeStaging(ctx context.Context, dir string) error {
	st, err := store.Open(ctx, proto.Destination{Local: true})
	if err != nil {
		return err
	}
	defer st.Close()
	return store.RemoveAll(ctx, st, dir)
}

// cipherDir is a folder with the vault's encrypted files: the vault itself if
// it is here, else a copy of it (staged), else an sshfs mount.
func (r *run) cipherDir(ctx context.Context, dir, to string) (cipher string, staged bool, err error) {
	if r.Destination.Local {
		return r.Destination.Path, false, nil
	}
	if r.Restore.Only == "" {
		staging := to + stagingSuffix
		if err := r.checkPassphrase(ctx); err != nil {
			return "", false, err
		}
		fits, err := r.fits(ctx, staging, to)
		if err != nil {
			return "", false, err
		}
		if fits {
			return staging, true, r.step(ctx, proto.StepFetch, func() error { return r.fetch(ctx, staging) })
		}
		r.warn("the disk does not hold the vault twice, so it is read through sshfs: times in whole seconds, hard links become separate files")
	}
	mp := filepath.Join(dir, "remote")
	return mp, false, r.step(ctx, proto.StepRemote, func() error { return r.mountRemote(ctx, mp, false) })
}

// checkPassphrase tries the passphrase on the vault's configuration, before
// anything large is fetched.
func (r *run) checkPassphrase(ctx context.Context) error {
	return r.step(ctx, proto.StepConnect, func() error {
		return r.persist(ctx, 0, nil, func() error {
			st, err := r.connect(ctx)
			if err != nil {
				return err
			}
			defer st.Close()
			look, err := lookAt(st, r.Destination)
			if err != nil {
				return err
			}
			if look.Config == nil {
				return proto.Errorf(proto.Vault, "there is no vault at %s", r.Destination.Label).WithHint("check the destination")
			}
			_, err = gocryptfs.MasterKey(ctx, look.Config, r.Passphrase)
			return err
		})
	})
}

func (r *run) fetchRun(staging string) rsync.Run {
	return rsync.Run{
		NoLinkTimes: !keepsLinkTimes(staging), Source: "fuseless:vault/", Target: staging + "/", Dial: r.dial, Socket: r.Destination.Socket, Explain: r.explain,
	}
}

// fits asks rsync how much is still to come and compares that, and the
// plaintext, with what is free.
func (r *run) fits(ctx context.Context, staging, to string) (bool, error) {
	run := r.fetchRun(staging)
	run.DryRun = true
	var fits bool
	err := func() error {
		out, err := r.persistRun(ctx, run)
		if err != nil {
			return err
		}
		if out.Code == rsync.ExitPartial && out.Stats.Files == 0 {
			return proto.Errorf(proto.Vault, "there is no vault at %s: %s", r.Destination.Label, strings.Join(out.Errors, "; ")).
				WithHint("check the destination")
		}
		var st unix.Statfs_t
		if err := unix.Statfs(to, &st); err != nil {
			return err
		}
		free := int64(st.Bavail) * st.Bsize
		var have int64
		_ = filepath.WalkDir(staging, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if fi, err := d.Info(); err == nil {
					have += fi.Size()
				}
			}
			return nil
		})
		need := 2*out.Stats.Size - have
		fits = free > need+need/20
		if !fits && free < out.Stats.Size {
			return proto.Errorf(proto.NoSpace, "%s has room for %d MiB, the vault holds %d MiB", to, free>>20, out.Stats.Size>>20).
				WithHint("choose a larger disk with -to=DIR, or a part with -only=PATTERN")
		}
		return nil
	}()
	return fits, err
}

func (r *run) fetch(ctx context.Context, staging string) error {
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return proto.Errorf(proto.Source, "cannot make %s: %w", staging, err)
	}
	run := r.fetchRun(staging)
	run.Delete, run.MaxDelete = true, -1 // what an earlier try left, of an earlier state of the vault
	run.OnProgress = func(p proto.Progress) { r.event(proto.Event{Kind: proto.KindProgress, Progress: &p}) }
	out, err := r.persistRun(ctx, run)
	if err == nil && out.Code != 0 {
		// What could be fetched is decrypted all the same.
		r.fetchFailed = true
		for _, l := range out.Errors {
			r.warn("fetch: " + l)
		}
		return nil
	}
	if err != nil {
		r.note("what was fetched is kept, encrypted, in " + staging + ": the next try goes on from there")
	}
	return err
}

// decrypt copies from a view of cipher into the target, and never over
// anything that exists. complaints are what gocryptfs said: it hides what it
// cannot decrypt.
func (r *run) decrypt(ctx context.Context, cipher, dir, to string) (out *rsync.Result, complaints []string, err error) {
	if _, err := os.Stat(filepath.Join(cipher, gocryptfs.ConfigName)); err != nil {
		return nil, nil, proto.Errorf(proto.Vault, "there is no vault at %s", r.Destination.Label).WithHint("check the destination")
	}
	view := filepath.Join(dir, "view")
	if err := os.Mkdir(view, 0o700); err != nil {
		return nil, nil, err
	}
	err = r.step(ctx, proto.StepDecrypt, func() error {
		m, err := gocryptfs.Start(ctx, cipher, view, r.Passphrase, gocryptfs.Options{Log: r.log("gocryptfs")})
		if err != nil {
			return err
		}
		defer m.Close(context.WithoutCancel(ctx))
		run := rsync.Run{Source: view + "/", Target: to + "/", Existing: true, NoLinkTimes: !keepsLinkTimes(to)}
		if run.NoLinkTimes {
			r.note("symbolic links get the time of now: the file system of " + to + " does not set theirs")
		}
		if r.Restore.Only != "" {
			run.Prune, run.Filters = true, onlyFilters(r.Restore.Only)
		}
		run.OnProgress = func(p proto.Progress) { r.event(proto.Event{Kind: proto.KindProgress, Progress: &p}) }
		if out, err = run.Do(ctx); err != nil {
			return err
		}
		for _, l := range m.Complaints() {
			// What arrived of a file whose transfer broke is no file of the backup.
			if !strings.Contains(l, rsync.PartialDir) {
				complaints = append(complaints, "gocryptfs: "+l)
			}
		}
		return m.Check()
	})
	return out, complaints, err
}

// onlyFilters are rsync's rules for a pattern: what it matches, and everything
// below a folder that it matches.
func onlyFilters(pattern string) []string {
	p := strings.TrimSuffix(pattern, "/")
	return []string{"+ " + p, "+ " + p + "/**", "+ */", "- *"}
}
