//go:build linux

package ops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"golang.org/x/sync/errgroup"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/mounts"
	"fuseless/guest/proto"
	"fuseless/guest/rsync"
)

// Limits above which deletions need consent.
const (
	maxDeleteFiles   = 1000
	maxDeletePercent = 10
)

// backup is one run of a backup.
type backup struct {
	*run
	started time.Time
	dir     string // folder of this run
	version gocryptfs.Version
	image   *gocryptfs.Mount
	images  int // mounted so far
	names   *gocryptfs.Names
	stamp   string // name of this run's folder in the trash
	passes  int    // passes of rsync that could replace something
	own     bool   // one of gocryptfs's own files was sent, or something of it changed
	kept    *kept  // the session with the remote; nil: none
	fresh   bool   // the vault was made by this run
	proof   bool   // whether vault and source belong together is to be seen from their names
	lost    bool   // the vault has files, but no configuration that could be used
	changed bool   // its configuration is not the one that we left there, and does not open
	undoes  bool   // ours takes the place of one that does not open, and it is not known which of them is the newer one
	result  proto.BackupResult
	faults  omissions

	stranded []string        // of passes that broke: what may have been under way
	named    map[string]bool // sent by a pass that broke, and counted
}

func (r *run) backup(ctx context.Context) (err error) {
	b := &backup{run: r, started: now()}
	b.stamp = stampOf(b.started)
	b.result.DryRun = r.Backup.DryRun
	if err := r.checkSource(); err != nil {
		return err
	}
	if b.version, err = gocryptfs.Installed(ctx); err != nil {
		return err
	}
	b.result.GocryptfsV = b.version.String()
	if err := r.repair(ctx); err != nil {
		return err
	}
	if b.dir, err = r.newRun(); err != nil {
		return err
	}
	defer func() {
		b.letGo()
		b.closeImage(ctx)
		if rerr := r.removeRun(context.WithoutCancel(ctx), b.dir); err == nil {
			err = rerr
		}
	}()
	scanned := scanOmissions(ctx, r.Source)
	held, err := b.transfer(ctx)
	if err != nil {
		return err
	}
	again := func() error { b.drop(ctx); return nil }
	if err := b.run.persist(ctx, pruneTries, again, func() error { return b.refresh(ctx) }); err != nil && ctx.Err() == nil {
		r.warn("what this run put into the trash counts as put there when it began: " + err.Error())
	}
	if !b.result.Incomplete && !held && !b.result.DryRun {
		if err := b.run.persist(ctx, pruneTries, again, func() error { return b.prune(ctx) }); err != nil && ctx.Err() == nil {
			// The backup itself is done; old trash can wait for the next run.
			r.warn("the trash could not be pruned: " + err.Error())
		}
	}
	b.result.NotBackedUp = append(b.faults.list(true), (<-scanned).list(false)...)
	b.result.Breaks = b.link.breaks.Load()
	b.result.Duration = time.Since(b.started)
	r.event(proto.Event{Kind: proto.KindResult, Backup: &b.result})
	switch {
	case b.result.Incomplete:
		deleted := "nothing was deleted"
		if b.result.Deleted > 0 {
			deleted = "what was deleted before that is in the trash"
		}
		return proto.Errorf(proto.Incomplete, "the backup of %s is incomplete: some files were not transferred; %s", r.Vault, deleted).
			WithHint("they are listed above; mend what keeps them from being read or written, and run it again")
	case held && b.result.Emptied:
		return proto.Errorf(proto.Consent, "the source %s has no files any more; all %d entries were kept in %s", r.Source, b.result.Held, r.Destination.Label).
			WithHint("is its disk mounted? to empty the vault as well, run `fuseless backup` on a terminal and answer the question")
	case held:
		return proto.Errorf(proto.Consent, "%d entries that the source no longer has were kept in %s: more than %d files or %d %% need consent",
			b.result.Held, r.Destination.Label, maxDeleteFiles, maxDeletePercent).
			WithHint("check that the source is whole; then run `fuseless backup -allowDelete`: they go to the trash")
	}
	return nil
}

// checkMounted says whether the source, in a VM, is there at all: without its
// mount it is an empty folder, which must not pass for an emptied source.
func (r *run) checkMounted() error {
	if !r.Mounted {
		return nil
	}
	m, err := mounts.Find(r.Source)
	if err == nil && m != nil {
		return nil
	}
	return proto.Errorf(proto.Source, "the source %s is not mounted in the VM", r.Source).
		WithHint("restart the VM: `fuseless down`, then `fuseless up`; nothing was deleted on the remote")
}

// checkSource looks at the source, and that it is not inside the vault or the
// other way round by way of a symlink.
func (r *run) checkSource() error {
	dir := r.Source
	if err := r.checkMounted(); err != nil {
		return err
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return proto.Errorf(proto.Source, "cannot read the source: %w", err).
			WithHint("is its disk mounted? nothing was changed on the remote")
	}
	if !fi.IsDir() {
		return proto.Errorf(proto.Source, "the source %s is not a folder", dir)
	}
	if _, err := os.ReadDir(dir); err != nil {
		return proto.Errorf(proto.Source, "cannot read the source: %w", err)
	}
	if r.Destination.Local && overlap(dir, r.Destination.Path) {
		return proto.Errorf(proto.Config, "the source %s and the destination %s lie inside each other", dir, r.Destination.Path).
			WithHint("choose a destination outside of the source")
	}
	return nil
}

// transfer does everything that touches the vault. held tells that deletions
// wait for consent.
func (b *backup) transfer(ctx context.Context) (held bool, err error) {
	if err := b.begin(ctx); err != nil {
		return false, err
	}
	if b.result.DryRun {
		return false, b.dryRun(ctx)
	}
	var res *rsync.Result
	err = b.step(ctx, proto.StepTransfer, func() error {
		res, err = b.send(ctx)
		return err
	})
	if err != nil {
		return false, err
	}
	suspects := (res.Skipped || len(res.Conflicts) > 0) && !b.result.Incomplete
	old := b.version.Less(gocryptfs.FixedReverse)
	if old && b.settled(suspects) {
		b.result.Settled, old = true, false
	}
	var first, second looked
	if suspects {
		if err := b.step(ctx, proto.StepCandidates, func() error { first, err = b.candidates(ctx); return err }); err != nil {
			return false, err
		}
	}
	if !suspects && !old {
		return false, nil
	}
	if err := b.reopen(ctx); err != nil {
		return false, err
	}
	if old {
		if err := b.virtual(ctx); err != nil {
			return false, err
		}
	}
	if !suspects {
		return false, nil
	}
	if err := b.step(ctx, proto.StepSecondLook, func() error { second, err = b.candidates(ctx); return err }); err != nil {
		return false, err
	}
	return b.delete(ctx, first, second, res)
}

// begin mounts the image and, meanwhile, looks at the destination: a connection
// takes a second.
func (b *backup) begin(ctx context.Context) error {
	var look *proto.Look
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return b.step(gctx, proto.StepConnect, func() error {
			again := func() error { b.drop(gctx); return nil }
			return b.run.persist(gctx, 0, again, func() (err error) { look, err = b.checkDestination(gctx); return err })
		})
	})
	var wrong error // the passphrase, for the source: the other side may know more about it
	g.Go(func() error {
		err := b.step(gctx, proto.StepReverse, func() error { return b.openImage(gctx) })
		if proto.CodeOf(err) == proto.Passphrase {
			wrong, err = err, nil
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if wrong != nil {
		return wrong
	}
	if !b.proof {
		return nil
	}
	if err := b.prove(look); err != nil {
		return err
	}
	if b.lost {
		if err := b.restoreConfig(ctx, look); err != nil {
			return err
		}
	}
	if b.changed {
		return b.keepTheirs()
	}
	b.warnUndoes()
	if b.Backup.Known || b.Backup.DryRun {
		return nil
	}
	return b.persist(ctx, func() error {
		st, back, err := b.store(ctx)
		if err != nil {
			return err
		}
		defer back()
		return b.tryTrash(st)
	})
}

// reopen replaces the image by a fresh mount.
func (b *backup) reopen(ctx context.Context) error {
	b.closeImage(ctx)
	return b.step(ctx, proto.StepReverse, func() error { return b.openImage(ctx) })
}

func (b *backup) openImage(ctx context.Context) (err error) {
	b.images++
	if b.image, err = b.run.image(ctx, b.dir, fmt.Sprintf("image%d", b.images)); err != nil {
		return err
	}
	b.names, err = gocryptfs.OpenNames(ctx, b.image.Socket)
	return err
}

func (b *backup) closeImage(ctx context.Context) {
	if b.names != nil {
		_ = b.names.Close()
		b.names = nil
	}
	if b.image != nil {
		if _, err := b.image.Close(context.WithoutCancel(ctx)); err != nil {
			b.warn(err.Error())
		}
		b.image = nil
	}
}

// rsync is the run that all passes have in common.
func (b *backup) rsync() rsync.Run {
	run := rsync.Run{
		Source: b.image.Path + "/", Target: b.Destination.Path + "/",
		Checksum: b.Backup.Checksum, Seconds: b.wholeSeconds(), NoHardLinks: b.inodesChange(),
	}
	if !b.Destination.Local {
		// The host's bridge knows the path; what stands here only labels it.
		run.Target = "fuseless:vault/"
		run.Dial, run.Socket, run.Explain = b.dial, b.Destination.Socket, b.explain
	}
	return run
}

// backupDir is where rsync puts what it replaces. rsync resolves a relative
// name against the vault.
func backupDir(d proto.Destination, name string) string {
	if path.IsAbs(d.Path) {
		return d.Trash + "/" + name
	}
	return "../" + path.Base(d.Trash) + "/" + name
}

// do runs rsync on the image, and again when the link broke. begin, which may be
// nil, is called before each run.
func (b *backup) do(ctx context.Context, run rsync.Run, begin func()) (res *rsync.Result, err error) {
	err = b.persist(ctx, func() error {
		if begin != nil {
			begin()
		}
		if err := b.rescue(ctx); err != nil {
			return err
		}
		res, err = b.once(ctx, run)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !res.Clean() {
		b.result.Incomplete = true
		b.fault(res)
	}
	return res, nil
}

// once runs rsync on the image, and checks that the image was there all the
// time.
func (b *backup) once(ctx context.Context, run rsync.Run) (*rsync.Result, error) {
	if err := b.image.Check(); err != nil {
		return nil, err
	}
	sent := &flight{}
	show := run.OnChange
	run.OnChange = func(what, p string) {
		b.link.moved.Add(1)
		sent.add(what, p)
		if show != nil {
			show(what, p)
		}
	}
	if p := run.OnProgress; p != nil {
		run.OnProgress = func(pr proto.Progress) { b.link.moved.Add(pr.Bytes); p(pr) }
	}
	run.Timeout = b.link.patience(run.Checksum)
	run.Apart = b.link.breaks.Load() > 0
	if !run.DryRun && !b.fresh {
		// Each pass, and each repetition of one, has a folder of its own: a file that
		// changes between two of them must not replace in the trash what the last
		// backup had.
		if b.passes++; b.passes == 1 {
			run.BackupDir = backupDir(b.Destination, b.stamp)
		} else {
			run.BackupDir = backupDir(b.Destination, fmt.Sprintf("%s-%d", b.stamp, b.passes))
		}
	}
	res, err := run.Do(ctx)
	if cerr := b.image.Check(); cerr != nil && ctx.Err() == nil {
		return nil, cerr
	}
	if errors.Is(err, proto.ErrLink) && !run.DryRun {
		b.strand(sent)
	}
	return res, err
}

// send transfers what is new or changed. --max-delete=0 makes rsync tell
// whether there is something to delete, without deleting it: where there is
// nothing, as most often, this is the only connection that a run makes.
func (b *backup) send(ctx context.Context) (*rsync.Result, error) {
	run := b.rsync()
	run.Delete, run.MaxDelete, run.Force = true, 0, true
	run.OnProgress = func(p proto.Progress) { b.event(proto.Event{Kind: proto.KindProgress, Progress: &p}) }
	run.OnChange = b.change
	res, err := b.do(ctx, run, nil)
	if err == nil {
		b.count(res.Stats)
	}
	return res, err
}

func (b *backup) count(s rsync.Stats) {
	b.result.Files, b.result.Bytes = s.Files, s.Size
	b.result.Created += s.Created
	b.result.Transferred += s.Transferred
	b.result.Literal += s.Literal
	b.result.Sent += s.Sent
}

// dryRun says what a backup would do.
func (b *backup) dryRun(ctx context.Context) error {
	return b.step(ctx, proto.StepTransfer, func() error {
		run := b.rsync()
		run.DryRun, run.Delete, run.MaxDelete, run.Force = true, true, -1, true
		run.OnChange = func(what, enc string) {
			if what == "*deleting" && !gocryptfs.Virtual(enc) {
				b.result.Deleted++
			}
			b.change(what, enc)
		}
		res, err := b.do(ctx, run, func() { b.result.Deleted, b.result.UserFiles = 0, 0 })
		if err != nil {
			return err
		}
		b.count(res.Stats)
		return nil
	})
}
