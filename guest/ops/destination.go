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
	"sync"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// checkDestination makes sure that the vault's folder is this vault's: a new
// one is made and marked with the configuration; another source's vault, and a
// folder of other files, are refused. It runs before every backup, since what
// lies there may change: a disk that is not mounted, or another vault.
func (b *backup) checkDestination(ctx context.Context) (*proto.Look, error) {
	st, back, err := b.store(ctx)
	if err != nil {
		return nil, err
	}
	defer back()
	look, err := peek(st, b.Destination)
	if err != nil {
		return nil, err
	}
	// A try that broke may have made the vault. It is ours as long as it is empty.
	b.proof, b.fresh = false, b.fresh && look.Empty
	b.undoes = false
	b.lost, b.changed = look.Config == nil && look.Exists && !look.Empty, false
	switch {
	case b.lost: // the names tell whether it is the vault without its configuration
		b.proof = true
	case len(look.Broken) > 0:
		if b.Backup.DryRun {
			return nil, proto.Errorf(proto.Vault, "%s: %w", b.Destination.Label, look.Damage).
				WithHint("a dry run does not put it back; `fuseless backup` does")
		}
		if err := b.replaceBroken(st); err != nil {
			return nil, err
		}
	case look.Config == nil && b.Backup.Known:
		return nil, b.noLonger()
	case look.Config != nil && bytes.Equal(look.Config, b.Backup.Config):
		// A key that was taken from this very vault proves nothing.
		b.proof = !b.Backup.Known
	case look.Config != nil:
		if err := b.sameKey(ctx, look.Config); err != nil {
			return nil, err
		}
	case b.Backup.DryRun:
		return nil, proto.Errorf(proto.Vault, "there is no vault at %s yet", b.Destination.Label).
			WithHint("a dry run compares with what is there; run `fuseless backup` first")
	default:
		b.fresh = true
		if err := makeVault(st, b.Destination, look, b.Backup.Config); err != nil {
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
func makeVault(st store.FS, d proto.Destination, look *proto.Look, config []byte) error {
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
	// The configuration comes first, so that a first backup that breaks off
	// leaves a folder that says whose it is.
	if err := st.Create(conf, config); err != nil {
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
	for _, dir := range []string{d.Path, d.Trash} { // of a try in which the link broke
		_ = st.Remove(path.Join(dir, probe))
	}
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

func (b *backup) foreign() error {
	return proto.Errorf(proto.Vault, "%s is the vault of another source", b.Destination.Label).
		WithHint("give each source a destination of its own; nothing was changed")
}

// prove compares names: the same key encrypts the same name in the root to the
// same letters. Where source and vault both have files and none in common, it
// is not this source's vault.
func (b *backup) prove(look *proto.Look) error {
	if b.lost {
		return nil // restoreConfig asks for more
	}
	common, err := b.common(look)
	if err != nil || common != 0 {
		return err
	}
	return b.foreign()
}

// common is the number of names in the root that image and vault have both; -1
// where one of the two has none.
func (b *backup) common(look *proto.Look) (int, error) {
	entries, err := os.ReadDir(b.image.Path)
	if err != nil {
		return 0, proto.Errorf(proto.Source, "cannot read the encrypted image of the source: %w", err)
	}
	mine := map[string]bool{}
	for _, e := range entries {
		if !gocryptfs.Virtual(e.Name()) {
			mine[e.Name()] = true
		}
	}
	both, theirs := 0, 0
	for _, n := range look.Names {
		switch {
		case mine[n]:
			both++
		case !gocryptfs.Virtual(n) && !strings.HasPrefix(n, ".fuseless-"):
			theirs++
		}
	}
	if len(mine) == 0 || both+theirs == 0 {
		return -1, nil
	}
	return both, nil
}

// lookAt tells what lies at the destination. A configuration that is damaged is
// an error; an empty file is none, as a full disk leaves one.
func lookAt(st store.FS, d proto.Destination) (*proto.Look, error) {
	look, err := peek(st, d)
	if err == nil && look.Damage != nil && len(look.Broken) > 0 {
		return nil, proto.Errorf(proto.Vault, "%s: %w", d.Label, look.Damage).
			WithHint("a backup puts it back if the source's, or the copy in the state folder, is whole; else `fuseless recover` makes a new one with the master key")
	}
	return look, err
}

// peek is lookAt for who can mend a damaged configuration. It asks for
// everything at once, as each question costs a round trip, and then looks at the
// answers in their order.
func peek(st store.FS, d proto.Destination) (*proto.Look, error) {
	conf := path.Join(d.Path, gocryptfs.ConfigName)
	var (
		dir, file                         fs.FileInfo
		data                              []byte
		entries                           []fs.FileInfo
		dirErr, fileErr, dataErr, listErr error
		g                                 sync.WaitGroup
	)
	g.Go(func() { dir, dirErr = st.Lstat(d.Path) })
	g.Go(func() {
		// Not at once: to open a FIFO would wait for its other end.
		if file, fileErr = st.Lstat(conf); fileErr == nil && file.Mode().IsRegular() {
			data, dataErr = store.ReadHead(st, conf, 1<<16) // the longest that gocryptfs makes has 600 bytes
		}
	})
	g.Go(func() { entries, listErr = st.ReadDir(d.Path) })
	g.Wait()
	if errors.Is(dirErr, fs.ErrNotExist) {
		return &proto.Look{Empty: true}, nil
	}
	if dirErr != nil {
		return nil, proto.Errorf(proto.Remote, "cannot look at %s: %w", d.Label, dirErr).
			WithHint("check that you may read it there")
	}
	look := &proto.Look{Exists: true}
	if dir.Mode()&fs.ModeSymlink != 0 {
		return nil, proto.Errorf(proto.Config, "%s is a symlink", d.Label).
			WithHint("write where it leads to: the trash would lie beside one or the other")
	}
	if !dir.IsDir() {
		return nil, proto.Errorf(proto.Vault, "%s is not a folder", d.Label).WithHint("choose another destination")
	}
	switch {
	case errors.Is(fileErr, fs.ErrNotExist):
	case fileErr != nil:
		return nil, unreadableConfig(d, fileErr)
	case !file.Mode().IsRegular():
		return nil, proto.Errorf(proto.Vault, "cannot read the configuration in %s: %s is no file", d.Label, gocryptfs.ConfigName).
			WithHint("move it away; a backup puts the configuration back")
	case dataErr != nil:
		return nil, unreadableConfig(d, dataErr)
	default:
		if _, look.Damage = gocryptfs.ParseConfig(data); look.Damage == nil {
			look.Config = data
		} else {
			look.Broken = data
		}
	}
	if listErr != nil {
		return nil, proto.Errorf(proto.Remote, "cannot list %s: %w", d.Label, listErr)
	}
	look.Empty = true
	for _, e := range entries {
		look.Names = append(look.Names, e.Name())
		unfinished := e.Name() == gocryptfs.DirIVName && e.Mode().IsRegular() && e.Size() < gocryptfs.DirIVLen // see initWritable
		if e.Name() != gocryptfs.ConfigName && !unfinished {
			look.Empty = false
		}
	}
	return look, nil
}

// unreadableConfig is err, met with the configuration in the vault.
func unreadableConfig(d proto.Destination, err error) error {
	code := proto.Vault
	if errors.Is(err, fs.ErrPermission) {
		code = proto.Remote
	}
	return proto.Errorf(code, "cannot read the configuration in %s: %w", d.Label, err).
		WithHint("check that you may enter the folder and read it there")
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
