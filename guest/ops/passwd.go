//go:build linux

package ops

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// keyWork is one request about the vault's configuration.
type keyWork struct {
	*run
	st   store.FS
	look *proto.Look
}

// passwd works on the vault's configuration. Nothing of it is in the source:
// the host writes there.
func (r *run) passwd(ctx context.Context) error {
	if err := r.repair(ctx); err != nil {
		return err
	}
	if r.Key.Task == proto.KeyShow {
		return r.step(ctx, proto.StepKey, func() error {
			key, err := gocryptfs.MasterKey(ctx, r.Key.Source, r.Passphrase)
			if err == nil {
				r.event(proto.Event{Kind: proto.KindMasterKey, Data: []byte(key)})
			}
			return err
		})
	}
	k := &keyWork{run: r}
	defer func() {
		if k.st != nil {
			k.st.Close()
		}
	}()
	if err := r.step(ctx, proto.StepConnect, func() (err error) {
		if k.st, err = store.Open(ctx, r.Destination); err != nil {
			return err
		}
		k.look, err = peek(k.st, r.Destination)
		return err
	}); err != nil {
		return err
	}
	var res *proto.KeyResult
	var err error
	switch r.Key.Task {
	case proto.KeyChange:
		res, err = k.change(ctx)
	case proto.KeyInstall:
		res, err = k.install(ctx)
	case proto.KeyMend:
		res, err = k.mend(ctx)
	default:
		err = proto.Errorf(proto.Internal, "unknown task %q", r.Key.Task)
	}
	if err == nil {
		r.event(proto.Event{Kind: proto.KindResult, Key: res})
	}
	return err
}

// change makes the configuration for a new passphrase. It changes nothing, but
// tries whether it could be put into the vault.
func (k *keyWork) change(ctx context.Context) (*proto.KeyResult, error) {
	res := &proto.KeyResult{Remote: k.look.Config, Vault: !k.look.Empty || k.look.Config != nil, Stamp: stampOf(time.Now())}
	if res.Remote == nil {
		res.Remote = k.look.Broken
	}
	if !res.Vault && len(k.Key.Last) > 0 {
		return nil, proto.Errorf(proto.Vault, "the vault is no longer at %s", k.Destination.Label).
			WithHint("is its disk mounted? nothing was changed")
	}
	err := k.step(ctx, proto.StepKey, func() (err error) {
		if k.Key.MasterKey != "" {
			err = k.recover(ctx, res)
		} else {
			err = k.newPassphrase(ctx, res)
		}
		if err != nil || !res.Vault {
			return err
		}
		return k.try(res.Config, res.Stamp)
	})
	return res, err
}

// usable is a configuration that could be used; nil for any other.
func usable(conf []byte) []byte {
	if _, err := gocryptfs.ParseConfig(conf); err != nil {
		return nil
	}
	return conf
}

// newPassphrase changes the passphrase of whichever configuration the old one
// opens, and proves that source and vault have the same master key.
func (k *keyWork) newPassphrase(ctx context.Context, res *proto.KeyResult) error {
	var base []byte
	var key proto.Secret
	opens := map[string]proto.Secret{}
	found := false
	for _, c := range [][]byte{usable(k.Key.Source), k.look.Config, usable(k.Key.Copy)} {
		if c == nil {
			continue
		}
		found = true
		if _, ok := opens[string(c)]; ok {
			continue
		}
		got, err := gocryptfs.MasterKey(ctx, c, k.Passphrase)
		if err != nil && proto.CodeOf(err) != proto.Passphrase {
			return err
		}
		opens[string(c)] = got
		if base == nil && got != "" {
			base, key = c, got
		}
	}
	switch {
	case !found:
		return k.allGone()
	case base == nil:
		return proto.Errorf(proto.Passphrase, "cannot unlock the vault's configuration: the passphrase is wrong").
			WithHint("try again; who has lost it, but has the master key, runs `fuseless recover`")
	}
	if src := usable(k.Key.Source); src != nil {
		switch got := opens[string(src)]; {
		case got != "" && got != key: // the source is asked first, so base would be it
			return k.foreignKey()
		case got == "":
			if err := k.sourceBelongs(ctx, src, base, k.Passphrase); err != nil {
				return err
			}
		}
	}
	if c := k.look.Config; c != nil && opens[string(c)] != "" {
		if opens[string(c)] != key {
			return k.foreignKey()
		}
	} else if !k.look.Empty {
		proof, _, err := k.proven(ctx, base, k.Passphrase)
		if err != nil {
			return err
		}
		if proof == "" {
			return proto.Errorf(proto.Vault, "nothing proves that %s is this source's vault: its configuration does not open with the passphrase, and none of its files could be decrypted with the source's key", k.Destination.Label).
				WithHint("check the destination; nothing was changed")
		}
		res.Proof = proof
	}
	conf, err := gocryptfs.Passwd(ctx, k.dir, base, k.Passphrase, k.Key.New)
	if err != nil {
		return err
	}
	return k.check(ctx, conf, key, res)
}

// recover makes a configuration from the master key, and proves on the vault's
// files that it is the vault's.
func (k *keyWork) recover(ctx context.Context, res *proto.KeyResult) error {
	if k.look.Empty {
		return proto.Errorf(proto.Vault, "the vault at %s has no files: nothing there can prove that the master key is the right one", k.Destination.Label).
			WithHint("nothing was changed; if there never was a backup, move %s out of the source and run `fuseless init`", gocryptfs.ReverseConfigName)
	}
	key := k.Key.MasterKey
	var made []func() ([]byte, error)
	for _, c := range [][]byte{k.look.Config, usable(k.Key.Source), usable(k.Key.Copy)} {
		if c != nil {
			made = append(made, func() ([]byte, error) { return gocryptfs.Recover(ctx, k.dir, c, key, k.Key.New) })
			break // they are of one vault
		}
	}
	if len(made) == 0 {
		// All are gone: one as gocryptfs makes it for a backup, or for a vault.
		for _, reverse := range []bool{true, false} {
			if reverse || !k.Key.HasSource {
				made = append(made, func() ([]byte, error) { return gocryptfs.InitWith(ctx, k.dir, reverse, key, k.Key.New) })
			}
		}
	}
	tried := 0
	for _, f := range made {
		conf, err := f()
		if err != nil {
			return err
		}
		proof, n, err := k.proven(ctx, conf, k.Key.New)
		if err != nil {
			return err
		}
		if proof != "" {
			res.Proof = proof
			if src := usable(k.Key.Source); src != nil {
				if err := k.sourceBelongs(ctx, src, conf, k.Key.New); err != nil {
					return err
				}
			}
			return k.check(ctx, conf, key, res)
		}
		tried = n
	}
	if tried == 0 {
		return proto.Errorf(proto.Vault, "the vault at %s has no file that can prove that the master key is the right one", k.Destination.Label).
			WithHint("nothing was changed; README.md, Restore by hand, says how to mount it with `gocryptfs -masterkey=stdin`")
	}
	return proto.Errorf(proto.Passphrase, "the master key is not that of the vault at %s: none of the files that were tried (%d) could be decrypted with it", k.Destination.Label, tried).
		WithHint("compare what you typed with the paper; nothing was changed. A vault that was made with other settings than gocryptfs's own needs `gocryptfs -masterkey=stdin` by hand: see Restore by hand in README.md")
}

// check makes sure of the new configuration: the new passphrase opens it, and
// the master key is the same.
func (k *keyWork) check(ctx context.Context, conf []byte, key proto.Secret, res *proto.KeyResult) error {
	got, err := gocryptfs.MasterKey(ctx, conf, k.Key.New)
	if err != nil {
		return err
	}
	if got != key {
		return proto.Errorf(proto.Internal, "gocryptfs changed the master key; nothing was replaced")
	}
	res.Config = conf
	return nil
}

// sourceBelongs tells for the source's configuration, which does not open,
// whether the source is the vault's all the same: conf, which pass opens, gives
// its names the letters that the vault has. To replace another vault's would be
// a loss.
func (k *keyWork) sourceBelongs(ctx context.Context, src, conf []byte, pass proto.Secret) error {
	if bytes.Equal(src, k.look.Config) {
		return nil
	}
	if n, err := k.namesInCommon(ctx, conf, pass); err == nil && n > 0 {
		return nil
	} else if ctx.Err() != nil {
		return err
	}
	return proto.Errorf(proto.Vault, "nothing proves that the source's %s belongs to the vault at %s", gocryptfs.ReverseConfigName, k.Destination.Label).
		WithHint("it opens with another passphrase; if it is damaged, move it out of the source and run it again")
}

// namesInCommon mounts the encrypted image of the source with conf, and counts
// the names of its root that the vault's root has, too.
func (k *keyWork) namesInCommon(ctx context.Context, conf []byte, pass proto.Secret) (n int, err error) {
	dir, err := k.newRun()
	if err != nil {
		return 0, err
	}
	defer func() {
		if rerr := k.removeRun(context.WithoutCancel(ctx), dir); err == nil {
			err = rerr
		}
	}()
	file, point := filepath.Join(dir, gocryptfs.ConfigName), filepath.Join(dir, "image")
	if err := errors.Join(k.checkMounted(), os.WriteFile(file, conf, 0o600), os.Mkdir(point, 0o700)); err != nil {
		return 0, err
	}
	m, err := gocryptfs.Start(ctx, k.Source, point, pass, gocryptfs.Options{Reverse: true, Exclude: k.Exclude, Config: file, Log: k.log("gocryptfs")})
	if err != nil {
		return 0, err
	}
	defer m.Close(context.WithoutCancel(ctx))
	return (&backup{run: k.run, image: m}).common(k.look)
}

func (k *keyWork) foreignKey() error {
	return proto.Errorf(proto.Vault, "%s is the vault of another source: the passphrase opens both, but their master keys differ", k.Destination.Label).
		WithHint("give each source a destination of its own; nothing was changed")
}

func (k *keyWork) allGone() error {
	return proto.Errorf(proto.Vault, "the vault %s has no configuration any more: neither in the source, nor a copy, nor at %s", k.Vault, k.Destination.Label).
		WithHint("with the master key, `fuseless recover` makes a new one")
}

// mend puts a copy of the configuration into a vault whose own is missing or
// damaged. It does nothing where that is whole.
func (k *keyWork) mend(ctx context.Context) (*proto.KeyResult, error) {
	res := &proto.KeyResult{}
	if k.look.Config != nil || k.look.Empty {
		return res, nil
	}
	err := k.step(ctx, proto.StepKey, func() error {
		var first error
		for _, c := range [][]byte{usable(k.Key.Source), usable(k.Key.Copy)} {
			if c == nil {
				continue
			}
			_, err := gocryptfs.MasterKey(ctx, c, k.Passphrase)
			if err == nil {
				var proof string
				if proof, _, err = k.proven(ctx, c, k.Passphrase); err == nil && proof != "" {
					res.Proof, res.Config = proof, c
					return k.put(c, stampOf(time.Now()), time.Time{})
				}
			}
			if first == nil {
				first = err
			}
		}
		return first
	})
	return res, err
}
