//go:build linux

package ops

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/rsync"
	"fuseless/guest/store"
)

// Limits above which deletions need consent.
const (
	maxDeleteFiles   = 1000
	maxDeletePercent = 10
)

// trashTime is how the trash's folders are named: UTC, sortable, and made of
// characters that no remote shell minds.
const trashTime = "20060102T150405Z"

// backup is one run of a backup.
type backup struct {
	*run
	started time.Time
	dir     string // folder of this run
	version gocryptfs.Version
	image   *gocryptfs.Mount
	names   *gocryptfs.Names
	fresh   bool   // the vault was made by this run
	trash   string // name of this run's folder in the trash
	result  proto.BackupResult
	faults  omissions
}

func (r *run) backup(ctx context.Context) (err error) {
	b := &backup{run: r, started: time.Now()}
	b.trash = b.started.UTC().Format(trashTime)
	b.result.DryRun = r.Backup.DryRun
	if err := checkSource(r.Source); err != nil {
		return err
	}
	if b.version, err = gocryptfs.Installed(ctx); err != nil {
		return err
	}
	b.result.GocryptfsV = b.version.String()
	if err := r.repair(ctx); err != nil {
		return err
	}
	if !r.Backup.Known || r.Destination.Local {
		if err := r.step(ctx, proto.StepConnect, func() error { return b.checkDestination(ctx) }); err != nil {
			return err
		}
	}
	if b.dir, err = r.newRun(); err != nil {
		return err
	}
	defer func() {
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
	if !b.result.Incomplete && !held && !b.result.DryRun {
		if err := b.prune(ctx); err != nil {
			// The backup itself is done; old trash can wait for the next run.
			r.warn("the trash could not be pruned: " + err.Error())
		}
	}
	b.result.NotBackedUp = append(b.faults.list(true), (<-scanned).list(false)...)
	b.result.Duration = time.Since(b.started)
	r.event(proto.Event{Kind: proto.KindResult, Backup: &b.result})
	switch {
	case b.result.Incomplete:
		return proto.Errorf(proto.Incomplete, "the backup of %s is incomplete: some files were not transferred; nothing was deleted", r.Vault).
			WithHint("the files are listed above; mend what keeps them from being read and run it again")
	case held:
		return proto.Errorf(proto.Consent, "%d entries that the source no longer has were kept in %s: more than %d files or %d %% need consent",
			b.result.Held, r.Destination.Label, maxDeleteFiles, maxDeletePercent).
			WithHint("check that the source is whole; then run `fuseless backup -allowDelete`: they go to the trash")
	}
	return nil
}

func checkSource(dir string) error {
	fi, err := os.Stat(dir)
	if err != nil {
		return proto.Errorf(proto.Source, "cannot read the source: %w", err).
			WithHint("is its disk mounted? nothing was changed on the remote")
	}
	if !fi.IsDir() {
		return proto.Errorf(proto.Source, "the source %s is not a folder", dir).WithHint("correct `source:` in fuseless.yaml")
	}
	if _, err := os.ReadDir(dir); err != nil {
		return proto.Errorf(proto.Source, "cannot read the source: %w", err).
			WithHint("it must be readable by you; nothing was changed on the remote")
	}
	return nil
}

// transfer does everything that touches the vault. held tells that deletions
// wait for consent.
func (b *backup) transfer(ctx context.Context) (held bool, err error) {
	if err := b.step(ctx, proto.StepReverse, func() error { return b.openImage(ctx, "image") }); err != nil {
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
	conflicts, only := res.Conflicts()
	if (res.Code == rsync.ExitPartial && !only) || res.Code == rsync.ExitVanished {
		b.result.Incomplete = true
		b.fault(res)
	}
	suspects := (res.Skipped || len(conflicts) > 0) && !b.result.Incomplete
	var first, second looked
	if suspects {
		if err := b.step(ctx, proto.StepCandidates, func() error { first, err = b.candidates(ctx); return err }); err != nil {
			return false, err
		}
	}
	if !suspects && !b.version.Less(gocryptfs.FixedReverse) {
		return false, nil
	}
	b.closeImage(ctx)
	if err := b.step(ctx, proto.StepReverse, func() error { return b.openImage(ctx, "again") }); err != nil {
		return false, err
	}
	if b.version.Less(gocryptfs.FixedReverse) {
		if err := b.step(ctx, proto.StepVirtual, func() error { return b.virtual(ctx) }); err != nil {
			return false, err
		}
	}
	if !suspects {
		return false, nil
	}
	if err := b.step(ctx, proto.StepSecondLook, func() error { second, err = b.candidates(ctx); return err }); err != nil {
		return false, err
	}
	return b.delete(ctx, first, second, conflicts, res.Stats)
}

func (b *backup) openImage(ctx context.Context, name string) (err error) {
	if b.image, err = b.run.image(ctx, b.dir, name); err != nil {
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
		Checksum: b.Backup.Checksum,
	}
	if !b.fresh {
		run.BackupDir = backupDir(b.Destination, b.trash)
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

// send transfers what is new or changed. --max-delete=0 makes rsync tell
// whether there is something to delete, without deleting it: where there is
// nothing, as most often, this is the only connection that a run makes.
func (b *backup) send(ctx context.Context) (*rsync.Result, error) {
	run := b.rsync()
	run.Delete, run.MaxDelete, run.Force = true, 0, true
	run.OnProgress = func(p proto.Progress) { b.event(proto.Event{Kind: proto.KindProgress, Progress: &p}) }
	run.OnChange = b.change
	res, err := run.Do(ctx)
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

// change counts one itemised change, and reports it under its plaintext name
// if the host wants that.
func (b *backup) change(what, enc string) {
	if gocryptfs.Virtual(enc) {
		return
	}
	if strings.HasPrefix(what, "<f") || strings.HasPrefix(what, ">f") {
		b.result.UserFiles++
	}
	if !b.Backup.Changes || what == ".d..t......" { // a folder's time: something in it changed
		return
	}
	if plain, ok := b.names.Decrypt(enc); ok {
		b.event(proto.Event{Kind: proto.KindChange, Change: &proto.Change{What: what, Path: []byte(plain)}})
	}
}

// virtual compares the contents of gocryptfs's own files, from a fresh mount:
// gocryptfs before 2.5.0 may have served wrong directory IVs for folders that
// were deleted and made while the first mount was up (gocryptfs#802).
func (b *backup) virtual(ctx context.Context) error {
	run := b.rsync()
	run.Checksum = true
	run.Filters = []string{
		"+ */", "+ /" + gocryptfs.ConfigName, "+ gocryptfs.diriv", "+ gocryptfs.longname.*.name", "- *",
	}
	res, err := run.Do(ctx)
	if err != nil {
		return err
	}
	if _, only := res.Conflicts(); (res.Code == rsync.ExitPartial && !only) || res.Code == rsync.ExitVanished {
		b.result.Incomplete = true
		b.fault(res)
	}
	return nil
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
		res, err := run.Do(ctx)
		if err != nil {
			return err
		}
		b.count(res.Stats)
		if res.Code != 0 {
			b.result.Incomplete = true
			b.fault(res)
		}
		return nil
	})
}

// fault records rsync's messages, with plaintext paths.
func (b *backup) fault(res *rsync.Result) {
	for _, l := range res.Errors {
		if strings.HasPrefix(l, "rsync error:") || strings.HasPrefix(l, "rsync warning:") {
			continue
		}
		what, p := b.plain(l)
		b.faults.add(what, p)
	}
}

// plain replaces the path in one of rsync's messages, such as
//
//	rsync: [sender] opendir "/run/…/image/Xy" failed: Permission denied (13)
//
// by its plaintext, and splits it into what happened and where.
func (b *backup) plain(l string) (what, where string) {
	before, rest, ok := strings.Cut(l, "\"")
	if !ok {
		return l, ""
	}
	quoted, after, ok := strings.Cut(rest, "\"")
	if !ok {
		return l, ""
	}
	enc := strings.TrimPrefix(quoted, b.image.Path+"/")
	enc = strings.TrimPrefix(enc, "/")
	p, ok := b.names.Decrypt(enc)
	if !ok {
		return l, ""
	}
	before = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(before, "rsync: "), "[sender] "), "[generator] "), "(")
	after = strings.TrimPrefix(strings.TrimSpace(after), ")")
	return strings.TrimSpace(strings.TrimSpace(before) + " " + strings.TrimSpace(after)), p
}

// checkDestination makes sure that the vault's folder is this vault's: a new
// one is made and marked with the configuration, another source's vault and a
// folder of other files are refused. A remote is asked only if the last run did
// not know it already: a connection takes a second. A disk may not be mounted.
func (b *backup) checkDestination(ctx context.Context) error {
	st, err := store.Open(ctx, b.Destination)
	if err != nil {
		return err
	}
	defer st.Close()
	look, err := lookAt(st, b.Destination)
	if err != nil {
		return err
	}
	switch {
	case look.Config == nil && b.Backup.Known:
		return proto.Errorf(proto.Vault, "the vault is no longer at %s", b.Destination.Label).
			WithHint("is its disk mounted? if the vault was removed on purpose, remove %s/last.json and run it again", b.state)
	case look.Config != nil && bytes.Equal(look.Config, b.Backup.Config):
		return nil
	case look.Config != nil:
		return b.sameKey(ctx, look.Config)
	case look.Exists && !look.Empty:
		return proto.Errorf(proto.Vault, "%s holds other files and no vault", b.Destination.Label).
			WithHint("choose a destination that is empty or does not exist")
	case b.Backup.DryRun && !look.Exists:
		return proto.Errorf(proto.Vault, "there is no vault at %s yet", b.Destination.Label).
			WithHint("a dry run compares with what is there; run `fuseless backup` first")
	case b.Backup.DryRun:
		return nil
	}
	if err := st.MkdirAll(b.Destination.Path); err != nil {
		return proto.Errorf(proto.Remote, "cannot make %s: %w", b.Destination.Label, err).
			WithHint("make the folder by hand, or check who may write there")
	}
	b.fresh = true
	// The configuration comes first, so that a first backup that breaks off
	// leaves a folder that says whose it is.
	if err := st.Create(path.Join(b.Destination.Path, gocryptfs.ConfigName), b.Backup.Config); err != nil {
		return proto.Errorf(proto.Remote, "cannot write to %s: %w", b.Destination.Label, err)
	}
	return nil
}

// sameKey compares master keys: the configurations of one vault differ after
// the passphrase was changed, and nothing else in them tells vaults apart.
func (b *backup) sameKey(ctx context.Context, remote []byte) error {
	mine, err := gocryptfs.MasterKey(ctx, b.run.dir, b.Backup.Config, b.Passphrase)
	if err != nil {
		return err
	}
	theirs, err := gocryptfs.MasterKey(ctx, b.run.dir, remote, b.Passphrase)
	if err != nil || theirs != mine {
		return proto.Errorf(proto.Vault, "%s is the vault of another source (or its passphrase was changed elsewhere)", b.Destination.Label).
			WithHint("give each source a destination of its own; nothing was changed")
	}
	return nil
}

// lookAt tells what lies at the destination.
func lookAt(st store.FS, d proto.Destination) (*proto.Look, error) {
	fi, err := st.Lstat(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return &proto.Look{Empty: true}, nil
	}
	if err != nil {
		return nil, proto.Errorf(proto.Remote, "cannot look at %s: %w", d.Label, err)
	}
	look := &proto.Look{Exists: true}
	if fi.Mode()&fs.ModeSymlink == 0 && !fi.IsDir() {
		return nil, proto.Errorf(proto.Vault, "%s is not a folder", d.Label)
	}
	look.Config, err = st.ReadFile(path.Join(d.Path, gocryptfs.ConfigName), 1<<16)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, proto.Errorf(proto.Vault, "cannot read the configuration in %s: %w", d.Label, err)
	}
	if look.Config != nil && len(look.Config) > 0 {
		_, err := gocryptfs.ParseConfig(look.Config)
		return look, err
	}
	look.Config = nil
	entries, err := st.ReadDir(d.Path)
	if err != nil {
		return nil, proto.Errorf(proto.Remote, "cannot list %s: %w", d.Label, err)
	}
	look.Empty = true
	for _, e := range entries {
		// An empty configuration is what a full disk leaves of the first write.
		if e.Name() != gocryptfs.ConfigName {
			look.Empty = false
		}
	}
	return look, nil
}
