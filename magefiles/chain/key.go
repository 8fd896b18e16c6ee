package chain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/magefiles/passphrase"
)

// Init makes the vault's configuration and writes it into the source. It does
// nothing where there is one, and takes an existing vault's from the remote
// rather than making a new one.
func (c *Chain) Init(ctx context.Context) error {
	return c.each(ctx, func(v *vault) error {
		unlock, err := v.state.Lock()
		if err != nil {
			return err
		}
		defer unlock()
		v.goOnOrSay(ctx)
		if v.Writable {
			return v.initWritable(ctx)
		}
		conf, err := v.findKey(ctx, false)
		if err != nil {
			return err
		}
		if conf != nil {
			v.screen.Say("is initialised already")
			return v.showUnshown(ctx, conf)
		}
		return v.makeKey(ctx)
	})
}

// keyFile is where the vault's configuration lies in the source.
func (v *vault) keyFile() string { return filepath.Join(v.Source, gocryptfs.ReverseConfigName) }

// findKey returns the vault's configuration. A lost one is restored: from the
// copy in the state folder, or from the vault. nil means that there never was
// one. With dry it looks only into the source.
func (v *vault) findKey(ctx context.Context, dry bool) ([]byte, error) {
	if !v.HasSource() {
		return nil, proto.Errorf(proto.Config, "the vault %s has no source", v.Name).
			WithHint("add `source:` in %s, or `writable: true` for a vault to write into; without either it can only be mounted and restored", v.Config.File)
	}
	fi, err := os.Stat(v.Source)
	if err != nil {
		return nil, proto.Errorf(proto.Source, "cannot read the source: %w", err).
			WithHint("is its disk mounted? nothing was changed on the remote")
	}
	if !fi.IsDir() {
		return nil, proto.Errorf(proto.Source, "the source %s is not a folder", v.Source).WithHint("correct `source:` in %s", v.Config.File)
	}
	conf, err := os.ReadFile(v.keyFile())
	switch {
	case err == nil && usable(conf) == nil && !dry:
		_, damage := gocryptfs.ParseConfig(conf)
		return v.mendKey(func() ([]byte, error) { return v.remoteKey(ctx) }, conf, damage)
	case err == nil && usable(conf) == nil:
		_, damage := gocryptfs.ParseConfig(conf)
		return nil, proto.Errorf(proto.Vault, "%s: %s", v.keyFile(), message(damage)).
			WithHint("a dry run does not put it back; `fuseless backup` does")
	case err == nil:
		return conf, checkKey(conf)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, proto.Errorf(proto.Source, "cannot read the vault's configuration: %w", err).
			WithHint("the source must be readable by you; nothing was changed on the remote")
	}
	if dry {
		return nil, proto.Errorf(proto.Vault, "the vault's configuration %s is missing", v.keyFile()).
			WithHint("a dry run does not put it back; `fuseless backup` does, or `fuseless init` makes one")
	}
	from := "the copy in " + v.state.Path()
	if conf, err = v.state.Config(); err != nil {
		return nil, proto.Errorf(proto.Internal, "cannot read the copy of the vault's configuration: %w", err)
	}
	if usable(conf) == nil || checkKey(conf) != nil { // of a vault that was written to, before there was a source
		from = v.Destination.String()
		if conf, err = v.remoteKey(ctx); err != nil || conf == nil {
			return nil, err
		}
		if err := checkKey(conf); err != nil {
			return nil, err
		}
		if err := v.adopt(ctx); err != nil {
			return nil, err
		}
		if err := v.keepCopy(conf); err != nil { // another vault's may lie there
			return nil, err
		}
	}
	if err := v.unproven(); err != nil {
		return nil, err
	}
	if err := v.writeKey(conf); err != nil {
		return nil, err
	}
	v.screen.Say("restored the vault's configuration in the source from %s", from)
	return conf, nil
}

// checkKey says whether a configuration can serve as the key of a backup.
func checkKey(conf []byte) error {
	c, err := gocryptfs.ParseConfig(conf)
	switch {
	case err != nil:
		return err
	case !c.Reverse():
		return proto.Errorf(proto.Vault, "the vault was made for forward use: it cannot be the image of a source").
			WithHint("look at it with `fuseless open`, or choose another destination for the backup")
	case c.PlaintextNames():
		return proto.Errorf(proto.Vault, "the vault was made with -plaintextnames, which a backup does not support").
			WithHint("choose another destination; `fuseless open` and `fuseless restore` read it")
	}
	return nil
}

// adopt asks whether the vault that lies at the destination is to be used for
// this source. Where nobody can be asked it is: before the first backup the
// guest compares its names with the source's, and refuses another's vault.
func (v *vault) adopt(ctx context.Context) error {
	last := v.state.Last()
	known := last != nil && last.Destination == v.Destination.Raw && len(last.Config) > 0 // a backup to it succeeded
	if known || !passphrase.IsTerminal() {
		return nil
	}
	yes, err := passphrase.Confirm(ctx, fmt.Sprintf("There is a vault at %s already. Use it, with its passphrase, for %s?", v.Destination, v.Source))
	if err != nil {
		return err
	}
	if !yes {
		return proto.Errorf(proto.Vault, "there is a vault at %s already, and it was not wanted", v.Destination).
			WithHint("choose another destination in %s", v.Config.File)
	}
	return nil
}

// remoteKey looks for a vault at the destination.
func (v *vault) remoteKey(ctx context.Context) ([]byte, error) {
	look, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	return look.Config, nil
}

// look tells what lies at the destination, and refuses one of other files.
func (v *vault) look(ctx context.Context) (*proto.Look, error) {
	socket, stop, err := v.bridge(ctx, true)
	if err != nil {
		return nil, err
	}
	defer stop()
	req := v.request(proto.OpLook)
	req.Destination.Socket = socket
	var look *proto.Look
	if err := v.do(ctx, req, func(e proto.Event) {
		if e.Look != nil {
			look = e.Look
		}
	}); err != nil {
		return nil, err
	}
	if look == nil {
		return &proto.Look{}, nil
	}
	if look.Config == nil && look.Exists && !look.Empty {
		return nil, proto.Errorf(proto.Vault, "%s holds other files and no vault", v.Destination).
			WithHint("choose a destination that is empty or does not exist; if it is your vault without its %s, `fuseless recover` makes a new one from the master key", gocryptfs.ConfigName)
	}
	return look, nil
}

// makeKey makes a new configuration, keeps a copy, writes it into the source,
// and shows the master key.
func (v *vault) makeKey(ctx context.Context) error {
	if err := v.require("gocryptfs"); err != nil {
		return err
	}
	pass, err := v.newPassphrase(ctx)
	if err != nil {
		return err
	}
	req := v.request(proto.OpInit)
	req.Passphrase = pass
	conf, key, err := v.initConfig(ctx, req)
	if err != nil {
		return err
	}
	v.tidy()
	if err := v.toBeShown(); err != nil {
		return err
	}
	if err := v.writeKey(conf); err != nil {
		return err
	}
	if err := v.keepCopy(conf); err != nil {
		return err
	}
	v.showMasterKey(string(key))
	_ = v.state.SetUnshown(false)
	v.screen.Say("initialised: %s", v.keyFile())
	return nil
}

// initConfig lets the guest make a configuration; key is its master key, nil if there
// was one already.
func (v *vault) initConfig(ctx context.Context, req proto.Request) (conf, key []byte, err error) {
	if err := v.do(ctx, req, func(e proto.Event) {
		switch e.Kind {
		case proto.KindConfig:
			conf = e.Data
		case proto.KindMasterKey:
			key = e.Data
		}
	}); err != nil {
		return nil, nil, err
	}
	_, err = gocryptfs.ParseConfig(conf)
	return conf, key, err
}

// toBeShown is told to the next run, if this one ends before the master key was seen.
func (v *vault) toBeShown() error {
	if err := v.state.SetUnshown(true); err != nil {
		return proto.Errorf(proto.NoSpace, "cannot write to the state folder: %w", err).WithHint("check the disk of %s; nothing was changed", v.state.Path())
	}
	return nil
}

// showMasterKey shows the master key once, on the terminal only: not on
// stdout or stderr, which may go to a file.
func (v *vault) showMasterKey(key string) {
	t, err := passphrase.OpenTerminal()
	if err != nil {
		v.screen.Say("the master key is not shown, as there is no terminal; with the passphrase, `gocryptfs-xray -dumpmasterkey %s` shows it", v.ownConfig())
		return
	}
	defer t.Close()
	t.Say("")
	t.Say("This is the master key of the vault " + v.Name + ":")
	t.Say("")
	t.Say("    " + groups(key))
	t.Say("")
	t.Say("Write it down on paper and keep it safe. With it the files can be read even if the")
	t.Say("passphrase, or " + gocryptfs.ConfigName + ", is lost. It is not shown again.")
	t.Say("")
}

// showUnshown shows the master key of a configuration that an interrupted init
// made, and whose key nobody has seen.
func (v *vault) showUnshown(ctx context.Context, conf []byte) error {
	if !v.state.Unshown() {
		return nil
	}
	if !passphrase.IsTerminal() {
		v.screen.Say("an earlier init was interrupted before it showed the master key; run `fuseless init` on a terminal to see it, or `gocryptfs-xray -dumpmasterkey %s`", v.ownConfig())
		return nil
	}
	v.screen.Say("an earlier init was interrupted before it showed the master key")
	pass, err := v.passphrase(ctx)
	if err != nil {
		return err
	}
	req := v.request(proto.OpPasswd)
	req.Passphrase = pass
	req.Key = proto.KeyOptions{Task: proto.KeyShow, Source: conf}
	var key []byte
	if err := v.do(ctx, req, func(e proto.Event) {
		if e.Kind == proto.KindMasterKey {
			key = e.Data
		}
	}); err != nil {
		return err
	}
	v.tidy()
	v.showMasterKey(string(key))
	return v.state.SetUnshown(false)
}

// groups sets a hexadecimal key in groups of eight, as gocryptfs prints it.
func groups(key string) string {
	s := ""
	for i := 0; i < len(key); i += 8 {
		if i > 0 {
			s += "-"
		}
		s += key[i:min(i+8, len(key))]
	}
	return s
}

// key is the vault's configuration for a backup. Where there is none it offers
// to make one, if there is somebody to ask.
func (v *vault) key(ctx context.Context, dry bool) ([]byte, error) {
	conf, err := v.findKey(ctx, dry)
	if err != nil || conf != nil {
		return conf, err
	}
	missing := proto.Errorf(proto.Vault, "the vault %s is not initialised", v.Name).
		WithHint("run `fuseless init`: it makes the vault's configuration and shows the master key")
	if !passphrase.IsTerminal() {
		return nil, missing
	}
	yes, err := passphrase.Confirm(ctx, fmt.Sprintf("The vault %s is new. Make its configuration now?", v.Name))
	if err != nil {
		return nil, err
	}
	if !yes {
		return nil, missing
	}
	if err := v.makeKey(ctx); err != nil {
		return nil, err
	}
	return os.ReadFile(v.keyFile())
}
