//go:build linux

package ops

import (
	"bytes"
	"context"
	"os"
	"path/filepath"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// checkConfig judges the vault's gocryptfs.conf. All else is checked with the
// source's, or the copy of it, if there is one: so a damaged one does not hide
// what else is damaged.
func (v *verify) checkConfig(ctx context.Context, look *proto.Look) error {
	mine := v.Verify.Config
	if len(mine) == 0 {
		if look.Damage != nil {
			return proto.Errorf(proto.Vault, "%w", look.Damage).
				WithHint("a backup from a machine that has the source mends it; with the master key the files can still be read, see README.md")
		}
		if look.Config == nil {
			return proto.Errorf(proto.Vault, "there is no vault at %s: it has no %s", v.Destination.Label, gocryptfs.ConfigName).
				WithHint("check the destination; with the master key the files can still be read, see README.md")
		}
		mine = look.Config
	}
	if v.image == nil && !bytes.Equal(mine, look.Config) && !v.opens(ctx, mine) && v.opens(ctx, look.Config) {
		v.note("the passphrase opens the vault and not the copy of its configuration: it was changed elsewhere, and the copy is left out")
		mine = look.Config
	}
	what, err := v.configDamage(ctx, mine, look)
	if err != nil {
		return err
	}
	if what != "" {
		if fi, err := os.Lstat(filepath.Join(v.Source, gocryptfs.ReverseConfigName)); v.image != nil && err == nil && v.since(fi) &&
			look.Config != nil && bytes.Equal(look.Config, v.Verify.Last) {
			v.result.Changed++
		} else {
			v.damage(gocryptfs.ConfigName, what)
		}
	}
	v.config = filepath.Join(v.dir, gocryptfs.ConfigName)
	return os.WriteFile(v.config, mine, 0o600) // in memory, and removed with the run's folder
}

// configDamage is what is wrong with the vault's configuration; "" is nothing.
// The vault of another source is an error.
func (v *verify) configDamage(ctx context.Context, mine []byte, look *proto.Look) (string, error) {
	if bytes.Equal(mine, look.Config) && v.image != nil {
		return "", nil // the image could be mounted with it
	}
	key, err := gocryptfs.MasterKey(ctx, mine, v.Passphrase)
	if err != nil {
		return "", err
	}
	if bytes.Equal(mine, look.Config) {
		return "", nil
	}
	other := &backup{run: v.run, image: v.image}
	if look.Config != nil {
		theirs, err := gocryptfs.MasterKey(ctx, look.Config, v.Passphrase)
		switch {
		case err == nil && theirs == key:
			return "differs from " + v.whose() + ", though the passphrase opens it", nil
		case err == nil:
			return "", other.foreign()
		case ctx.Err() != nil:
			return "", ctx.Err()
		}
	}
	if v.image != nil {
		if err := other.prove(look); err != nil {
			return "", err
		}
	}
	switch {
	case look.Config != nil:
		return "is damaged, or its passphrase was changed elsewhere: the passphrase opens " + v.whose() + ", and not this one", nil
	case len(look.Broken) > 0:
		return "is damaged", nil
	case look.Damage != nil:
		return "is empty", nil
	}
	return "is missing", nil
}

// opens says whether the passphrase opens a configuration, which may be nil.
func (v *verify) opens(ctx context.Context, conf []byte) bool {
	if conf == nil {
		return false
	}
	_, err := gocryptfs.MasterKey(ctx, conf, v.Passphrase)
	return err == nil
}

// whose is the configuration that the vault's is compared with.
func (v *verify) whose() string {
	if v.image == nil {
		return "the copy in the state folder"
	}
	return "the source's"
}
