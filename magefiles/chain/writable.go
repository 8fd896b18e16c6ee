package chain

import (
	"context"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// initWritable makes a vault at the destination, for files that are written into it.
// What an earlier one that was interrupted has begun, it ends.
func (v *vault) initWritable(ctx context.Context) error {
	look, err := v.look(ctx)
	if err != nil {
		return err
	}
	if look.Config != nil {
		parsed, err := gocryptfs.ParseConfig(look.Config)
		if err != nil {
			return err
		}
		if parsed.Reverse() {
			return proto.Errorf(proto.Vault, "the vault at %s is the backup of a folder: what is written into it, the next backup would delete", v.Destination).
				WithHint("choose another destination")
		}
	}
	if look.Config != nil && !look.Empty {
		if err := v.keepCopy(look.Config); err != nil {
			return err
		}
		v.screen.Say("is initialised already")
		return v.showUnshown(ctx, look.Config)
	}
	if look.Config == nil && v.goodCopy() != nil {
		return proto.Errorf(proto.Vault, "there is no vault at %s, and a copy of a vault's key file is kept here", v.Destination).
			WithHint("is its disk mounted there, and the destination right? for a new vault move the copy away: %s", v.state.ConfigFile())
	}
	if err := v.require("gocryptfs"); err != nil {
		return err
	}
	req := v.request(proto.OpInit)
	if look.Config == nil {
		if req.Passphrase, err = v.newPassphrase(ctx); err != nil {
			return err
		}
		if err := v.toBeShown(); err != nil {
			return err
		}
	}
	socket, stop, err := v.bridge(ctx, false)
	if err != nil {
		return err
	}
	defer stop()
	req.Destination.Socket = socket
	conf, key, err := v.initConfig(ctx, req)
	if err != nil {
		return err
	}
	if err := v.keepCopy(conf); err != nil {
		return err
	}
	if key == nil {
		v.screen.Say("initialised: %s", v.Destination)
		return v.showUnshown(ctx, conf)
	}
	v.showMasterKey(string(key))
	_ = v.state.SetUnshown(false)
	v.screen.Say("initialised: %s", v.Destination)
	return nil
}

// notWritten refuses to read the vault past a server that may be writing into it:
// what is half written would pass for damage, or for a file.
func (v *vault) notWritten(ctx context.Context) error {
	if !v.Writable {
		return nil
	}
	st, err := v.status(ctx)
	if err != nil {
		return err
	}
	if st.View != nil && st.View.Writable {
		return proto.Errorf(proto.Busy, "the vault %s is open to be written to", v.Name).WithHint("run `fuseless close` first")
	}
	return nil
}

// ownConfig is where a person of this machine finds the vault's configuration.
func (v *vault) ownConfig() string {
	if v.HasSource() {
		return v.keyFile()
	}
	return v.state.ConfigFile()
}
