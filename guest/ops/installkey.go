//go:build linux

package ops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// keyProbe begins the names of what lies in the trash while a configuration is
// put into the vault. The trash is on the vault's file system. What a killed run
// leaves of it, pruning removes.
const keyProbe = ".fuseless-probe-conf-"

// install puts the new configuration into the vault, unless that has another one
// than what is to be replaced: then somebody else changed it meanwhile.
func (k *keyWork) install(ctx context.Context) (*proto.KeyResult, error) {
	res := &proto.KeyResult{}
	if is := k.look.Config; is != nil && !bytes.Equal(is, k.Key.Replaces) {
		res.Other = !bytes.Equal(is, k.Key.Config)
		return res, nil
	}
	if k.look.Config == nil && k.look.Empty {
		return nil, proto.Errorf(proto.Vault, "the vault is no longer at %s", k.Destination.Label).WithHint("is its disk mounted?")
	}
	if k.look.Config == nil && usable(k.Key.Replaces) != nil {
		// It had one, so it may be another folder by now: backup puts it back with
		// names as the proof, and open and restore by decrypting.
		return res, nil
	}
	return res, k.step(ctx, proto.StepInstall, func() error { return k.put(k.Key.Config, k.Key.Stamp, k.Key.Time) })
}

// try does all of put but the last step, and takes it back: a full disk or a
// missing right must show before anything is changed anywhere.
func (k *keyWork) try(conf []byte, stamp string) error {
	tmp, err := k.upload(conf, stamp, time.Time{})
	if tmp != "" {
		if rerr := k.st.Remove(tmp); err == nil && rerr != nil {
			err = k.cannot(rerr)
		}
	}
	return err
}

func (k *keyWork) put(conf []byte, stamp string, t time.Time) error {
	return putConfig(k.st, k.Destination, conf, stamp, t)
}

func (k *keyWork) upload(conf []byte, stamp string, t time.Time) (string, error) {
	return uploadConfig(k.st, k.Destination, conf, stamp, t)
}

func (k *keyWork) cannot(err error) error { return cannotPut(k.Destination, err) }

// putConfig makes conf the vault's configuration. What was there is copied to
// the folder stamp of the trash first, and then replaced in one step: at every
// moment the vault has the one or the other.
func putConfig(st store.FS, d proto.Destination, conf []byte, stamp string, t time.Time) error {
	tmp, err := uploadConfig(st, d, conf, stamp, t)
	if err != nil {
		if tmp != "" {
			_ = st.Remove(tmp)
		}
		return err
	}
	name := path.Join(d.Path, gocryptfs.ConfigName)
	err = keepConfig(st, d, name, path.Join(d.Trash, stamp))
	if err == nil {
		err = store.Replace(st, tmp, name)
		if errors.Is(err, fs.ErrPermission) {
			// The vault's folder has the mode of the source's, and may be closed to us.
			err = store.ReplaceLocked(st, tmp, name)
		}
	}
	if err != nil {
		_ = st.Remove(tmp)
		return cannotPut(d, err)
	}
	return nil
}

// keepConfig copies the vault's configuration to the trash; one that is damaged
// as it is.
func keepConfig(st store.FS, d proto.Destination, name, to string) error {
	old, err := store.ReadHead(st, name, 1<<16)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(old) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if err := st.MkdirAll(to); err != nil {
		return err
	}
	for i := 0; i < 100; i++ {
		kept := path.Join(to, gocryptfs.ConfigName)
		if i > 0 {
			kept = fmt.Sprintf("%s.%d", kept, i)
		}
		switch have, err := store.ReadHead(st, kept, 1<<16); {
		case err == nil && bytes.Equal(have, old):
			return nil // a run that was interrupted has kept it
		case err == nil:
			continue
		case errors.Is(err, fs.ErrNotExist):
			return st.Create(kept, old)
		default:
			return err
		}
	}
	return fmt.Errorf("%s is full of configurations", to)
}

// uploadConfig writes conf into the trash under a temporary name, and reads it
// back.
func uploadConfig(st store.FS, d proto.Destination, conf []byte, stamp string, t time.Time) (tmp string, err error) {
	if err := store.CanReplace(st); err != nil {
		return "", proto.Errorf(proto.Remote, "cannot replace the configuration in %s: %w", d.Label, err).
			WithHint("OpenSSH's server can; on another one only a backup, which uses rsync, brings a new configuration")
	}
	if err := st.MkdirAll(d.Trash); err != nil {
		return "", cannotPut(d, err)
	}
	// What a killed run left.
	if entries, err := st.ReadDir(d.Trash); err == nil {
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), keyProbe) {
				_ = st.Remove(path.Join(d.Trash, e.Name()))
			}
		}
	}
	tmp = path.Join(d.Trash, keyProbe+stamp)
	if err = st.Create(tmp, conf); err == nil {
		err = store.Sync(st, tmp)
	}
	if err == nil && !t.IsZero() {
		err = store.SetTime(st, tmp, t)
	}
	if err == nil {
		err = st.Chmod(tmp, 0o400)
	}
	if err == nil {
		var back []byte
		if back, err = store.ReadHead(st, tmp, 1<<16); err == nil && !bytes.Equal(back, conf) {
			err = errors.New("it was not written whole")
		}
	}
	if err != nil {
		return tmp, cannotPut(d, err)
	}
	return tmp, nil
}

func cannotPut(d proto.Destination, err error) error {
	var e *proto.Error
	if errors.As(err, &e) {
		return err
	}
	code := proto.Remote
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		code = proto.NoSpace
	}
	return proto.Errorf(code, "cannot put the configuration into %s: %w", d.Label, err).
		WithHint("check who may write there and in %s, and that the disk is not full", d.Trash)
}
