package chain

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// newKeyFile is where a configuration for the source is written before it gets
// its name. What a killed run left of it, the next one removes.
func (v *vault) newKeyFile() string { return v.keyFile() + ".fuseless-new" }

// writeNewKey writes a configuration beside its place, safely on the disk. t, if
// it is not zero, becomes its modification time.
func (v *vault) writeNewKey(conf []byte, t time.Time) (err error) {
	_ = os.Remove(v.newKeyFile())
	f, err := os.OpenFile(v.newKeyFile(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return proto.Errorf(proto.Source, "cannot write the vault's configuration into the source: %w", err).
			WithHint("fuseless adds this one file to the source; it must be writable")
	}
	_, err = f.Write(conf)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil && !t.IsZero() {
		err = os.Chtimes(v.newKeyFile(), t, t)
	}
	if err != nil {
		_ = os.Remove(v.newKeyFile())
		return proto.Errorf(proto.NoSpace, "cannot write the vault's configuration into the source: %w", err).
			WithHint("check that the disk of %s is not full; nothing was changed", v.Source)
	}
	return nil
}

// writeKey writes the configuration into the source: never over an existing
// one, and safely on the disk before anything is encrypted with it. Whatever
// stops it, the source has no configuration or a whole one.
func (v *vault) writeKey(conf []byte) error {
	if err := v.writeNewKey(conf, time.Time{}); err != nil {
		return err
	}
	defer os.Remove(v.newKeyFile())
	err := os.Link(v.newKeyFile(), v.keyFile())
	if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without hard links
		if _, lerr := os.Lstat(v.keyFile()); errors.Is(lerr, fs.ErrNotExist) {
			err = os.Rename(v.newKeyFile(), v.keyFile())
		}
	}
	if err == nil {
		err = syncDir(v.Source)
	}
	if err != nil {
		return proto.Errorf(proto.Source, "cannot write the vault's configuration into the source: %w", err).
			WithHint("fuseless adds this one file to the source; it must be writable")
	}
	return nil
}

// replaceKey puts a configuration in the place of the source's, in one step.
func (v *vault) replaceKey(conf []byte, t time.Time) error {
	if dir, err := os.Stat(v.Source); err == nil {
		// gocryptfs's files in a folder have its time, and would be sent again.
		defer func() { _ = os.Chtimes(v.Source, time.Time{}, dir.ModTime()) }()
	}
	if err := v.writeNewKey(conf, t); err != nil {
		return err
	}
	if fi, err := os.Lstat(v.keyFile()); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			_ = os.Chown(v.newKeyFile(), int(st.Uid), int(st.Gid)) // only root can, and only there it matters
		}
	}
	err := os.Rename(v.newKeyFile(), v.keyFile())
	if err == nil {
		err = syncDir(v.Source)
	}
	if err != nil {
		_ = os.Remove(v.newKeyFile())
		return proto.Errorf(proto.Source, "cannot replace the vault's configuration in the source: %w", err).
			WithHint("check that %s may be written", v.Source)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// unproven makes the next backups compare the names of source and vault, until
// one has succeeded: a configuration that is put back into a source says nothing
// about whose source it is, such as that of another disk.
func (v *vault) unproven() error {
	last := v.state.Last()
	if last == nil || len(last.Config) == 0 {
		return nil
	}
	last.Config = nil
	return v.state.SetLast(*last)
}

// usable is a configuration that gocryptfs could use; nil for any other.
func usable(conf []byte) []byte {
	if _, err := gocryptfs.ParseConfig(conf); err != nil {
		return nil
	}
	return conf
}

// goodCopy is the copy in the state folder, if it is one.
func (v *vault) goodCopy() []byte {
	conf, err := v.state.Config()
	if err != nil {
		return nil
	}
	return usable(conf)
}

// keepCopy keeps a copy of the vault's configuration in the state folder. Another
// one that lies there may be the only one of its vault, and is kept besides.
func (v *vault) keepCopy(conf []byte) error {
	if old, err := v.state.Config(); err == nil && len(old) > 0 && !bytes.Equal(old, conf) {
		if _, err := v.state.Keep(old, time.Now()); err != nil {
			return proto.Errorf(proto.NoSpace, "cannot keep the old configuration: %w", err).WithHint("check the disk of %s", v.state.Path())
		}
	}
	return v.state.SetConfig(conf)
}

// mendKey replaces a configuration in the source that is damaged by the copy, or
// by the vault's. The damaged one is kept in the state folder.
func (v *vault) mendKey(look func() ([]byte, error), broken []byte, damage error) ([]byte, error) {
	conf, from := v.goodCopy(), "the copy in "+v.state.Path()
	if conf == nil || checkKey(conf) != nil {
		var err error
		if conf, err = look(); err != nil {
			return nil, err
		}
		from = v.Destination.String()
	}
	if conf == nil {
		return nil, proto.Errorf(proto.Vault, "%s: %s, and there is no copy of it", v.keyFile(), message(damage)).
			WithHint("if there was a backup, `fuseless recover` makes a new one with the master key; if there never was one, remove the file and run `fuseless init`")
	}
	if err := checkKey(conf); err != nil {
		return nil, err
	}
	kept := "it was empty"
	if len(broken) > 0 {
		p, err := v.state.Keep(broken, time.Now())
		if err != nil {
			return nil, proto.Errorf(proto.NoSpace, "cannot keep the damaged configuration: %w", err).
				WithHint("check that %s may be written and that its disk is not full", v.state.Path())
		}
		kept = "the damaged one is kept as " + p
	}
	if err := v.unproven(); err != nil {
		return nil, err
	}
	if err := v.replaceKey(conf, time.Time{}); err != nil {
		return nil, err
	}
	v.screen.Say("restored the vault's configuration in the source, which was damaged, from %s; %s", from, kept)
	return conf, nil
}

// sourceKey is the file in the source as it is; nil if there is none. It fails
// if the source itself is not there.
func (v *vault) sourceKey() ([]byte, error) {
	if !v.HasSource() {
		return nil, nil
	}
	if fi, err := os.Stat(v.Source); err != nil || !fi.IsDir() {
		if err == nil {
			err = errors.New("it is not a folder")
		}
		return nil, proto.Errorf(proto.Source, "cannot read the source %s: %w", v.Source, err).
			WithHint("is its disk mounted? nothing was changed")
	}
	conf, err := os.ReadFile(filepath.Clean(v.keyFile()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, proto.Errorf(proto.Source, "cannot read the vault's configuration: %w", err).
			WithHint("the source must be readable by you; nothing was changed")
	}
	return conf, nil
}
