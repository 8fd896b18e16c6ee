//go:build linux

package ops

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// checkDestination makes sure that the vault's folder is this vault's: a new
// one is made and marked with the configuration; another source's vault, and a
// folder of other files, are refused. It runs before every backup, since what
// lies there may change: a disk that is not mounted, or another vault.
func (b *backup) checkDestination(ctx context.Context) (*proto.Look, error) {
	st, err := store.Open(ctx, b.Destination)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	look, err := lookAt(st, b.Destination)
	if err != nil {
		return nil, err
	}
	switch {
	case look.Config == nil && b.Backup.Known:
		return nil, proto.Errorf(proto.Vault, "the vault is no longer at %s", b.Destination.Label).
			WithHint("is its disk mounted? if the vault was removed on purpose, remove %s/last.json and run it again", b.state)
	case look.Config != nil && bytes.Equal(look.Config, b.Backup.Config):
		// A key that was taken from this very vault proves nothing.
		b.proof = !b.Backup.Known
	case look.Config != nil:
		if err := b.sameKey(ctx, look.Config); err != nil {
			return nil, err
		}
	case look.Exists && !look.Empty:
		return nil, proto.Errorf(proto.Vault, "%s holds other files and no vault", b.Destination.Label).
			WithHint("choose a destination that is empty or does not exist")
	case b.Backup.DryRun:
		return nil, proto.Errorf(proto.Vault, "there is no vault at %s yet", b.Destination.Label).
			WithHint("a dry run compares with what is there; run `fuseless backup` first")
	default:
		if err := b.makeVault(st, look); err != nil {
			return nil, err
		}
	}
	if b.Backup.Known || b.Backup.DryRun || b.proof {
		// With a proof to come the vault may be another's: begin tries the trash.
		return look, nil
	}
	return look, b.tryTrash(st)
}

// makeVault makes the vault's folder.
func (b *backup) makeVault(st store.FS, look *proto.Look) error {
	d := b.Destination
	if d.Local && !look.Exists {
		// Only the folder itself: above it may be the place where a disk is to be
		// mounted.
		if _, err := st.Lstat(path.Dir(d.Path)); err != nil {
			return proto.Errorf(proto.Vault, "there is no folder %s", path.Dir(d.Path)).
				WithHint("is its disk mounted? if so, make the folder by hand")
		}
	}
	if err := st.MkdirAll(d.Path); err != nil {
		return proto.Errorf(proto.Remote, "cannot make %s: %w", d.Label, err).
			WithHint("make the folder by hand, or check who may write there")
	}
	conf := path.Join(d.Path, gocryptfs.ConfigName)
	if fi, err := st.Lstat(conf); err == nil && fi.Mode().IsRegular() && fi.Size() == 0 {
		_ = st.Remove(conf) // what a full disk left of an earlier try
	}
	b.fresh = true
	// The configuration comes first, so that a first backup that breaks off
	// leaves a folder that says whose it is.
	if err := st.Create(conf, b.Backup.Config); err != nil {
		return proto.Errorf(proto.Remote, "cannot write to %s: %w", d.Label, err).
			WithHint("check that the folder may be written and that its disk is not full")
	}
	return nil
}

// tryTrash moves a file to the trash and removes it there. Where that cannot be
// done, because the vault is the root of a disk or its parent may not be
// written, it must show in the first run and not in the first that deletes.
func (b *backup) tryTrash(st store.FS) error {
	d := b.Destination
	probe := ".fuseless-probe-" + b.stamp
	err := st.MkdirAll(d.Trash)
	if err == nil {
		err = st.Create(path.Join(d.Path, probe), nil)
	}
	if err == nil {
		if err = st.Rename(path.Join(d.Path, probe), path.Join(d.Trash, probe)); err != nil {
			_ = st.Remove(path.Join(d.Path, probe))
		} else {
			err = st.Remove(path.Join(d.Trash, probe))
		}
	}
	if err != nil {
		return proto.Errorf(proto.Vault, "the trash beside the vault, %s, cannot be used: %w", d.Trash, err).
			WithHint("use a folder inside as destination, as in %s/vault", strings.TrimSuffix(d.Label, "/"))
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
	if proto.CodeOf(err) == proto.Passphrase {
		// Ours opens and theirs does not: `gocryptfs -passwd` was run on the
		// source, or it is another vault. The names tell.
		b.proof = true
		return nil
	}
	if err != nil {
		return err
	}
	if theirs != mine {
		return b.foreign()
	}
	return nil
}

func (b *backup) foreign() error {
	return proto.Errorf(proto.Vault, "%s is the vault of another source", b.Destination.Label).
		WithHint("give each source a destination of its own; nothing was changed")
}

// prove compares names: the same key encrypts the same name in the root to the
// same letters. Where source and vault both have files and none in common, it
// is not this source's vault.
func (b *backup) prove(look *proto.Look) error {
	entries, err := os.ReadDir(b.image.Path)
	if err != nil {
		return proto.Errorf(proto.Source, "cannot read the encrypted image of the source: %w", err)
	}
	mine := map[string]bool{}
	for _, e := range entries {
		if !gocryptfs.Virtual(e.Name()) {
			mine[e.Name()] = true
		}
	}
	theirs := 0
	for _, n := range look.Names {
		if mine[n] {
			return nil
		}
		if !gocryptfs.Virtual(n) && !strings.HasPrefix(n, ".fuseless-") {
			theirs++
		}
	}
	if theirs == 0 || len(mine) == 0 {
		return nil
	}
	return b.foreign()
}

// lookAt tells what lies at the destination.
func lookAt(st store.FS, d proto.Destination) (*proto.Look, error) {
	fi, err := st.Lstat(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return &proto.Look{Empty: true}, nil
	}
	if err != nil {
		return nil, proto.Errorf(proto.Remote, "cannot look at %s: %w", d.Label, err).
			WithHint("check that you may read it there")
	}
	look := &proto.Look{Exists: true}
	if fi.Mode()&fs.ModeSymlink != 0 {
		return nil, proto.Errorf(proto.Config, "%s is a symlink", d.Label).
			WithHint("write where it leads to: the trash would lie beside one or the other")
	}
	if !fi.IsDir() {
		return nil, proto.Errorf(proto.Vault, "%s is not a folder", d.Label).WithHint("choose another destination")
	}
	look.Config, err = st.ReadFile(path.Join(d.Path, gocryptfs.ConfigName), 1<<16)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, proto.Errorf(proto.Vault, "cannot read the configuration in %s: %w", d.Label, err)
	}
	if len(look.Config) == 0 {
		look.Config = nil
	} else if _, err := gocryptfs.ParseConfig(look.Config); err != nil {
		return nil, err
	}
	entries, err := st.ReadDir(d.Path)
	if err != nil {
		return nil, proto.Errorf(proto.Remote, "cannot list %s: %w", d.Label, err)
	}
	look.Empty = true
	for _, e := range entries {
		look.Names = append(look.Names, e.Name())
		if e.Name() != gocryptfs.ConfigName {
			look.Empty = false
		}
	}
	return look, nil
}

// overlap tells whether one of two folders is, or lies in, the other, with
// symlinks followed as far as there is something to follow.
func overlap(a, b string) bool {
	a, b = real(a), real(b)
	return within(a, b) || within(b, a)
}

func within(p, dir string) bool {
	rel, err := filepath.Rel(dir, p)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

func real(p string) string {
	rest := ""
	for q := p; ; q = filepath.Dir(q) {
		if r, err := filepath.EvalSymlinks(q); err == nil {
			return filepath.Join(r, rest)
		}
		if q == filepath.Dir(q) {
			return p
		}
		rest = filepath.Join(filepath.Base(q), rest)
	}
}
