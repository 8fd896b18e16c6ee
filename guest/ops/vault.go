//go:build linux

package ops

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// init makes a configuration and hands it, and the master key, to the host. It
// leaves nothing in the guest. For a vault that is written to it makes the vault, too.
func (r *run) init(ctx context.Context) error {
	return r.step(ctx, proto.StepInit, func() error {
		if r.Writable {
			return r.initWritable(ctx)
		}
		config, key, err := r.newConfig(ctx)
		if err != nil {
			return err
		}
		r.event(proto.Event{Kind: proto.KindConfig, Data: config})
		r.event(proto.Event{Kind: proto.KindMasterKey, Data: []byte(key)})
		return nil
	})
}

func (r *run) newConfig(ctx context.Context) (config []byte, key proto.Secret, err error) {
	if config, err = gocryptfs.Init(ctx, r.dir, !r.Writable, r.Passphrase); err != nil {
		return nil, "", err
	}
	key, err = gocryptfs.MasterKey(ctx, config, r.Passphrase)
	return config, key, err
}

// initWritable makes a vault at the destination, for files that are written into
// it. Where one is that was not finished (its configuration comes first) it adds what is
// missing; a whole one it leaves alone.
func (r *run) initWritable(ctx context.Context) error {
	st, look, err := r.openAndLook(ctx)
	if err != nil {
		return err
	}
	defer st.Close()
	if look.Exists && !look.Empty {
		if look.Config == nil {
			return holdsOther(r.Destination)
		}
		r.event(proto.Event{Kind: proto.KindConfig, Data: look.Config})
		return nil
	}
	config, key := look.Config, proto.Secret("")
	if config == nil {
		if config, key, err = r.newConfig(ctx); err != nil {
			return err
		}
		if err := makeVault(st, r.Destination, look, config); err != nil {
			return err
		}
	}
	if parsed, err := gocryptfs.ParseConfig(config); err != nil {
		return err
	} else if err := r.addDirIV(st, parsed); err != nil {
		return proto.Errorf(proto.Remote, "cannot write to %s: %w", r.Destination.Label, err).
			WithHint("check that its disk is not full, and run `fuseless init` again: it goes on where it was")
	}
	r.event(proto.Event{Kind: proto.KindConfig, Data: config})
	if key != "" {
		r.event(proto.Event{Kind: proto.KindMasterKey, Data: []byte(key)})
	}
	return nil
}

// addDirIV gives a vault without files its directory IV, and waits until the vault is
// on the disk.
func (r *run) addDirIV(st store.FS, parsed *gocryptfs.Config) error {
	made := []string{gocryptfs.ConfigName}
	if parsed.DirIV() {
		name := path.Join(r.Destination.Path, gocryptfs.DirIVName)
		if err := st.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that was not finished
			return err
		}
		if err := st.Create(name, gocryptfs.NewDirIV()); err != nil {
			return err
		}
		made = append(made, gocryptfs.DirIVName)
	}
	for _, name := range made {
		if err := store.Sync(st, path.Join(r.Destination.Path, name)); err != nil {
			return err
		}
	}
	return nil
}

// look tells what lies at the destination.
func (r *run) look(ctx context.Context) error {
	return r.step(ctx, proto.StepConnect, func() error {
		st, look, err := r.openAndLook(ctx)
		if err != nil {
			return err
		}
		defer st.Close()
		r.event(proto.Event{Kind: proto.KindResult, Look: look})
		return nil
	})
}

func (r *run) openAndLook(ctx context.Context) (store.FS, *proto.Look, error) {
	st, err := store.Open(ctx, r.Destination)
	if err != nil {
		return nil, nil, err
	}
	look, err := lookAt(st, r.Destination)
	if err != nil {
		st.Close()
		return nil, nil, err
	}
	return st, look, nil
}
