//go:build linux

package ops

import (
	"bytes"
	"context"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// sameKey compares master keys: the configurations of one vault differ after
// the passphrase was changed, and nothing else in them tells vaults apart.
func (b *backup) sameKey(ctx context.Context, remote []byte) error {
	mine, err := gocryptfs.MasterKey(ctx, b.Backup.Config, b.Passphrase)
	if err != nil && proto.CodeOf(err) != proto.Passphrase {
		return err
	}
	theirs, terr := gocryptfs.MasterKey(ctx, remote, b.Passphrase)
	switch {
	case err != nil && terr == nil:
		return b.changedElsewhere()
	case err != nil:
		return err
	case proto.CodeOf(terr) == proto.Passphrase:
		// Ours opens and theirs does not: `gocryptfs -passwd` was run on the
		// source, or on the vault, or it is another vault. The names tell.
		// If it is not the one that the last backup left there, it was not we who
		// did that.
		last := b.Backup.Last
		b.proof, b.changed, b.undoes = true, len(last) > 0 && !bytes.Equal(last, remote), len(last) == 0
		return nil
	case terr != nil:
		return terr
	case theirs != mine:
		return b.foreign()
	}
	b.own = true // the two differ
	return nil
}

// changedElsewhere is the passphrase that opens the vault, and not the source's
// configuration.
func (r *run) changedElsewhere() error {
	return proto.Errorf(proto.Passphrase, "cannot unlock the configuration in the source: the passphrase is wrong there, but opens the vault at %s", r.Destination.Label).
		WithHint("it was changed on one side, or the source's %s is damaged: run `fuseless passwd`, which gives both one passphrase", gocryptfs.ReverseConfigName)
}

// warnUndoes tells that the source's configuration takes the place of one in
// the vault which the passphrase does not open. Nothing is known here of the last
// backup, so it cannot be told whether that is the older one, as after `gocryptfs
// -passwd` on the source, or the newer one, of another machine.
func (b *backup) warnUndoes() {
	if b.undoes && !b.Backup.DryRun {
		b.warn("the passphrase opens the source's configuration and not the vault's, which is replaced by it and goes to the trash: if the passphrase was changed by another machine, that change is undone; `fuseless passwd` makes it again")
	}
}

// keepTheirs refuses to send the source's configuration over one that was changed
// in the vault: its passphrase would become the old one again.
func (b *backup) keepTheirs() error {
	return proto.Errorf(proto.Vault, "the configuration in the vault at %s is not the one that the last backup left there, and does not open with the passphrase", b.Destination.Label).
		WithHint("its passphrase was changed by another machine, or it is damaged: run `fuseless passwd`, which gives source and vault one passphrase; nothing was changed")
}

// restoreConfig puts the source's configuration into a vault that lost its own,
// if the names in it are those of the source.
func (b *backup) restoreConfig(ctx context.Context, look *proto.Look) error {
	what := "is missing"
	if look.Damage != nil {
		what = "is damaged"
	}
	common, err := b.common(look)
	switch {
	case err != nil:
		return err
	case common > 0:
	case look.Damage != nil && len(look.Broken) > 0:
		return proto.Errorf(proto.Vault, "the configuration in %s is damaged, and nothing there has a name of this source", b.Destination.Label).
			WithHint("check the destination; if it is the vault, `fuseless recover` mends it with the master key")
	case b.Backup.Known:
		return b.noLonger()
	default:
		return b.otherFiles()
	}
	if b.Backup.DryRun {
		b.note("the configuration in " + b.Destination.Label + " " + what + "; a backup puts it back")
		return nil
	}
	b.passes++ // else rsync's first pass would put what it replaces over the damaged one
	err = b.persist(ctx, func() error {
		st, back, err := b.store(ctx)
		if err != nil {
			return err
		}
		defer back()
		return putConfig(st, b.Destination, b.Backup.Config, b.stamp, b.started.Truncate(1e9))
	})
	if err == nil {
		b.note("the configuration in " + b.Destination.Label + " " + what + ": put back from the source's")
	}
	return err
}

func (b *backup) noLonger() error {
	return proto.Errorf(proto.Vault, "the vault is no longer at %s", b.Destination.Label).
		WithHint("is its disk mounted? if the vault was removed on purpose, remove %s/last.json and run it again", b.state)
}

func (b *backup) otherFiles() error { return holdsOther(b.Destination) }

func holdsOther(d proto.Destination) error {
	return proto.Errorf(proto.Vault, "%s holds other files and no vault", d.Label).
		WithHint("choose a destination that is empty or does not exist; if it is your vault without its %s, `fuseless recover` makes a new one from the master key", gocryptfs.ConfigName)
}

// replaceBroken puts the configuration in the place of a damaged one that lies in
// an otherwise empty folder: what a first backup left that was cut off.
func (b *backup) replaceBroken(st store.FS) error {
	b.passes++ // see restoreConfig
	return putConfig(st, b.Destination, b.Backup.Config, b.stamp, b.started.Truncate(1e9))
}
