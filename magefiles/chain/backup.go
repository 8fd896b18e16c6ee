package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"fuseless/guest/proto"
	"fuseless/guest/rundir"
	"fuseless/magefiles/awake"
	"fuseless/magefiles/config"
	"fuseless/magefiles/evicted"
	"fuseless/magefiles/passphrase"
	"fuseless/magefiles/state"
	"fuseless/templates"
)

// BackupOptions are the flags of `backup`.
type BackupOptions struct {
	DryRun, Checksum, AllowDelete bool

	maxDelete int64 // see proto.BackupOptions
	began     time.Time
}

// Backup sends what changed in the source to the vault.
func (c *Chain) Backup(ctx context.Context, o BackupOptions) error {
	all, err := c.Config.Select("")
	if err != nil {
		return err
	}
	withSource := slices.DeleteFunc(slices.Clone(all), func(v config.Vault) bool { return v.Writable })
	if len(withSource) == 0 {
		var names []string
		for _, v := range all {
			names = append(names, v.Name)
		}
		return proto.Errorf(proto.Config, "the vault %s is written to directly: there is nothing to back up", strings.Join(names, ", ")).
			WithHint("`fuseless open` opens it; a vault for a backup has a `source:` in %s", c.Config.File)
	}
	return c.eachOf(ctx, withSource, func(v *vault) error { return v.backup(ctx, o) })
}

func (v *vault) backup(ctx context.Context, o BackupOptions) error {
	if err := v.require("gocryptfs", "fusermount3", "rsync"); err != nil {
		return err
	}
	if v.HasSource() {
		// Reading one would hang, or fetch it; an error would look like a fault of the disk.
		if err := evicted.Check(ctx, v.Source, v.Exclude...); err != nil {
			return err
		}
	}
	unlock, err := v.state.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	o.began = time.Now()
	if !o.DryRun {
		v.goOnOrSay(ctx)
	}
	conf, err := v.key(ctx, o.DryRun)
	if err == nil {
		_, err = v.passphrase(ctx)
	}
	if err != nil {
		return v.record(o, conf, nil, err)
	}
	result, err := v.send(ctx, conf, o)
	for proto.CodeOf(err) == proto.Consent && result != nil && passphrase.IsTerminal() {
		yes, aerr := passphrase.Confirm(ctx, v.question(result))
		if aerr != nil || !yes {
			break
		}
		// Consent is for the number that was shown. If the source loses more
		// meanwhile, the question comes again.
		o.AllowDelete, o.maxDelete = true, result.Held
		result, err = v.send(ctx, conf, o)
	}
	return v.record(o, conf, result, err)
}

func (v *vault) question(r *proto.BackupResult) string {
	if r.Emptied {
		return fmt.Sprintf("%s: the source has no files any more. Move all %d entries of the vault to the trash?", v.Name, r.Held)
	}
	return fmt.Sprintf("%s: move %d entries that the source no longer has to the trash?", v.Name, r.Held)
}

// send makes one run of the backup.
func (v *vault) send(ctx context.Context, conf []byte, o BackupOptions) (*proto.BackupResult, error) {
	socket, stop, err := v.bridge(ctx, false)
	if err != nil {
		return nil, err
	}
	defer stop()
	pass, err := v.passphrase(ctx)
	if err != nil {
		return nil, err
	}
	defer awake.Start("backup of " + v.Name)()
	req := v.request(proto.OpBackup)
	req.Passphrase = pass
	req.Destination.Socket = socket
	last := v.state.Last()
	if last != nil && last.Seconds && !v.seconds() && !o.Checksum {
		// Else every file would count as changed, and its twin go to the trash.
		v.screen.Say("the last backup was made by a VM, which sees times in whole seconds: contents are compared this once")
		o.Checksum = true
	}
	req.Backup = proto.BackupOptions{
		DryRun: o.DryRun, Checksum: o.Checksum, AllowDelete: o.AllowDelete, KeepDays: v.KeepDeleted, Config: conf,
		Known:   last != nil && last.Destination == v.Destination.Raw && bytes.Equal(last.Config, conf),
		Changes: o.DryRun || v.Verbose, MaxDelete: o.maxDelete, Last: v.lastConfig(),
	}
	if last != nil {
		req.Backup.LastSuccess = last.Success
	}
	began := time.Now()
	compared := v.state.Settled(began)
	req.Backup.Settled = req.Backup.Known && !compared.IsZero()
	if !o.DryRun {
		if err := v.state.Unsettle(); err != nil {
			return nil, err
		}
	}
	var result *proto.BackupResult
	err = v.do(ctx, req, func(e proto.Event) {
		if e.Backup != nil {
			result = e.Backup
		}
	})
	if result != nil {
		v.screen.Backup(result)
	}
	switch {
	case o.DryRun || err != nil || result == nil:
	case result.Compared:
		v.state.Settle(began)
	case result.Settled: // and not: they were compared, and differed
		v.state.Settle(compared)
	}
	return result, err
}

// record keeps the result of a run for `status`, and a copy of the
// configuration that it used.
func (v *vault) record(o BackupOptions, conf []byte, result *proto.BackupResult, err error) error {
	if o.DryRun {
		return err
	}
	now := time.Now()
	last := state.Last{Time: now, Code: proto.CodeOf(err), Destination: v.Destination.Raw, Result: result}
	if old := v.state.Last(); old != nil {
		last.Success = old.Success
		if old.Destination == last.Destination {
			last.Began = old.Began
		}
		last.Seconds = old.Seconds && old.Destination == last.Destination
		if old.Destination == last.Destination {
			last.Config = old.Config
		}
	}
	if proto.CodeOf(err) == proto.Consent {
		last.Seconds = false // all is sent; only deletions wait
	}
	if err != nil {
		last.Message = message(err)
	} else {
		last.Success, last.Began = now, o.began
		last.Seconds = false
		last.Config = conf
		if cerr := v.state.SetConfig(conf); cerr != nil {
			return cerr
		}
	}
	last.Seconds = last.Seconds || v.seconds() // also of a run that broke
	if serr := v.state.SetLast(last); serr != nil && err == nil {
		return rundir.StateError(v.state.Path(), "the backup is done, but its result could not be recorded", serr)
	}
	return err
}

// seconds says whether the guest sees the source with times in whole seconds: a
// VM on a Linux host does, by sshfs.
func (v *vault) seconds() bool { return v.machine != nil && runtime.GOOS == "linux" }

func message(err error) string {
	var e *proto.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// RestoreOptions are the flags of `restore`.
type RestoreOptions struct {
	To   string // folder; empty: the source, if it is missing or empty
	Only string // pattern
	From string // entry of the trash to read instead of the vault: its name, or the beginning of a date
}

// Restore gets files back from the vault.
func (c *Chain) Restore(ctx context.Context, o RestoreOptions) error {
	v, err := c.one()
	if err != nil {
		return err
	}
	defer v.screen.Done()
	what := proto.RestoreOptions{Only: o.Only}
	if o.From != "" {
		pick, err := proto.ParseTrashPick(o.From, time.Local)
		if err != nil {
			return err
		}
		if what.From = &pick; o.To == "" {
			return proto.Errorf(proto.Config, "where to? -from=%s needs a folder", o.From).
				WithHint("give -to=DIR; the source itself will do, too: files that exist there are never overwritten")
		}
	}
	if err := v.require("gocryptfs", "fusermount3", "rsync", "sshfs"); err != nil {
		return err
	}
	unlock, err := v.state.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := v.notWritten(ctx); err != nil {
		return err
	}
	v.goOnOrSay(ctx)
	if what.To, err = v.restoreTo(o.To); err != nil {
		return err
	}
	if v.machine != nil {
		err = v.restoreByVM(ctx, what)
	} else {
		err = v.restore(ctx, what, nil)
	}
	if err == nil || !v.mendVault(ctx, err) {
		return err
	}
	if v.machine != nil {
		return v.restoreByVM(ctx, what)
	}
	return v.restore(ctx, what, nil)
}

// restore lets the guest restore into the folder what.To, as the guest sees it.
func (v *vault) restore(ctx context.Context, what proto.RestoreOptions, on func(*proto.RestoreResult)) error {
	pass, err := v.passphrase(ctx)
	if err != nil {
		return err
	}
	socket, stop, err := v.bridge(ctx, true)
	if err != nil {
		return err
	}
	defer stop()
	defer awake.Start("restore of " + v.Name)()
	req := v.request(proto.OpRestore)
	req.Passphrase = pass
	req.Destination.Socket = socket
	req.Restore = what
	if v.machine != nil {
		req.Restore.Mount = templates.RestorePoint
	}
	return v.do(ctx, req, func(e proto.Event) {
		switch {
		case e.Restore == nil:
		case on != nil:
			on(e.Restore)
		default:
			v.screen.Restore(e.Restore)
		}
	})
}

// restoreTo is the folder to restore into: by default where the files were, if
// nothing is there now.
func (v *vault) restoreTo(to string) (string, error) {
	if to == "~" || strings.HasPrefix(to, "~/") {
		// The shell does not expand it behind `-to=`.
		home, err := os.UserHomeDir()
		if err != nil {
			return "", proto.Errorf(proto.Config, "no home folder: %w", err).WithHint("give -to=DIR with a whole path")
		}
		to = filepath.Join(home, to[1:])
	}
	if to != "" {
		return filepath.Abs(to)
	}
	if !v.HasSource() {
		return "", proto.Errorf(proto.Config, "where to? the vault %s has no source", v.Name).WithHint("give -to=DIR")
	}
	entries, err := os.ReadDir(v.Source)
	if err == nil && len(entries) > 0 {
		return "", proto.Errorf(proto.Config, "the source %s is not empty", v.Source).
			WithHint("give -to=DIR; files that exist there are never overwritten")
	}
	return v.Source, nil
}
