package chain

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"fuseless/guest/proto"
	"fuseless/magefiles/passphrase"
	"fuseless/magefiles/state"
)

// Passwd changes the passphrase of a vault.
func (c *Chain) Passwd(ctx context.Context) error {
	return c.changing(ctx, func(v *vault) error {
		old, err := v.passphrase(ctx)
		if err != nil {
			return err
		}
		pass, err := v.askNew(ctx)
		if err != nil {
			return err
		}
		p, err := v.newConfig(ctx, old, "", pass)
		if proto.CodeOf(err) == proto.Passphrase && v.Passphrase.Kind != passphrase.Prompt && v.Passphrase.Kind != "" {
			// It was changed before, and the keyring or the command did not follow.
			v.screen.Say("the passphrase of the %s does not open the vault", v.Passphrase.Kind)
			typed, aerr := passphrase.Get(ctx, passphrase.Source{Kind: passphrase.Prompt, Vault: v.Name}, passphrase.Options{})
			if aerr != nil {
				return err
			}
			p, err = v.newConfig(ctx, proto.Secret(typed.Reveal()), "", pass)
		}
		if err != nil {
			return err
		}
		return v.commit(ctx, p, pass)
	})
}

// changing is what passwd and recover have in common.
func (c *Chain) changing(ctx context.Context, f func(*vault) error) error {
	v, err := c.one()
	if err != nil {
		return err
	}
	defer v.screen.Done()
	if !passphrase.IsTerminal() {
		return proto.Errorf(proto.Terminal, "a new passphrase is asked for on a terminal, and there is none").
			WithHint("run it by hand, on a terminal; nothing was changed")
	}
	if err := v.require("gocryptfs", "fusermount3"); err != nil {
		return err
	}
	unlock, err := v.state.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := v.goOn(ctx); err != nil {
		return err
	}
	return f(v)
}

// askNew asks for a new passphrase on the terminal, twice, wherever the old one
// comes from.
func (v *vault) askNew(ctx context.Context) (passphrase.Secret, error) {
	return passphrase.GetNew(ctx, passphrase.Source{Kind: passphrase.Prompt, Vault: v.Name}, passphrase.Options{})
}

// newConfig lets the guest make, and prove, the configuration for a new
// passphrase. Nothing is changed yet.
func (v *vault) newConfig(ctx context.Context, old, masterKey proto.Secret, pass passphrase.Secret) (*state.Pending, error) {
	src, err := v.sourceKey()
	if err != nil {
		return nil, err
	}
	cp, err := v.state.Config()
	if err != nil {
		return nil, proto.Errorf(proto.Internal, "cannot read the copy of the vault's configuration: %w", err)
	}
	socket, stop, err := v.bridge(ctx, false)
	if err != nil {
		return nil, err
	}
	defer stop()
	req := v.request(proto.OpPasswd)
	req.Destination.Socket = socket
	req.Passphrase = old
	req.Key = proto.KeyOptions{
		Task: proto.KeyChange, New: proto.Secret(pass.Reveal()), MasterKey: masterKey,
		HasSource: v.HasSource(), Source: src, Copy: cp, Last: v.lastConfig(),
	}
	var res *proto.KeyResult
	if err := v.do(ctx, req, func(e proto.Event) {
		if e.Key != nil {
			res = e.Key
		}
	}); err != nil {
		return nil, err
	}
	if res == nil || usable(res.Config) == nil {
		return nil, proto.Errorf(proto.Internal, "the guest made no configuration")
	}
	if v.HasSource() {
		if err := checkKey(res.Config); err != nil {
			return nil, err
		}
	}
	if res.Proof != "" {
		v.screen.Say("the master key is the vault's: %s", res.Proof)
	}
	return &state.Pending{
		Time: time.Now().Truncate(time.Second), Stamp: res.Stamp, Config: res.Config, Source: src,
		Remote: res.Remote, Vault: res.Vault, Destination: v.Destination.Raw,
	}, nil
}

// lastConfig is what the last backup to this destination left in source and
// vault; nil if there was none.
func (v *vault) lastConfig() []byte {
	if last := v.state.Last(); last != nil && last.Destination == v.Destination.Raw {
		return last.Config
	}
	return nil
}

// commit makes a new configuration the vault's. Once it is noted, it will be,
// whatever stops this run: every later one goes on with it.
func (v *vault) commit(ctx context.Context, p *state.Pending, pass passphrase.Secret) error {
	if err := v.state.SetPending(*p); err != nil {
		return err
	}
	if err := v.apply(ctx, p); err != nil {
		var e *proto.Error
		if errors.As(err, &e) {
			return proto.Errorf(e.Code, "the new passphrase is not everywhere yet: %w", err).
				WithHint("%s; the next `fuseless backup` or `fuseless passwd` goes on with it. Until then %s may still open with the old passphrase", strings.TrimSuffix(e.Hint, "."), v.Destination)
		}
		return err
	}
	switch v.Passphrase.Kind {
	case passphrase.Keyring:
		if err := passphrase.Store(v.Name, pass); err != nil {
			return proto.Errorf(proto.Passphrase, "the passphrase of the vault is changed, but not the keyring's: %w", err).
				WithHint("store the new one: %s", passphrase.StoreCommand(v.Name))
		}
		v.screen.Say("the keyring has the new passphrase")
	case passphrase.Command:
		v.screen.Say("now change what `%s` prints to the new passphrase: until then nothing can open the vault", strings.Join(v.Passphrase.Command, " "))
	}
	if err := v.state.Done(); err != nil {
		return err
	}
	v.Give(v.Name, pass)
	v.screen.Say("the passphrase is changed")
	return nil
}

// goOn completes a change of the passphrase that was interrupted.
func (v *vault) goOn(ctx context.Context) error {
	if v.HasSource() {
		_ = os.Remove(v.newKeyFile()) // what a killed run left
	}
	p, err := v.state.Pending()
	if err != nil {
		return proto.Errorf(proto.Internal, "cannot read what an interrupted change of the passphrase left: %w", err).
			WithHint("look at the file and remove it: the old or the new passphrase opens the vault, and `fuseless passwd` makes it one")
	}
	if p == nil {
		return nil
	}
	if err := v.apply(ctx, p); err != nil {
		return err
	}
	if err := v.state.Done(); err != nil {
		return err
	}
	v.screen.Say("a change of the passphrase that was interrupted is complete now: the new passphrase is in force")
	if p.Vault && p.Destination != v.Destination.Raw {
		v.screen.Say("%s still opens with the old passphrase", p.Destination)
	}
	if v.Passphrase.Kind == passphrase.Keyring {
		v.screen.Say("the keyring may still have the old one; store the new one: %s", passphrase.StoreCommand(v.Name))
	}
	return nil
}

// goOnOrSay is goOn for what can be done without: the old passphrase still opens
// what did not follow.
func (v *vault) goOnOrSay(ctx context.Context) {
	if err := v.goOn(ctx); err != nil && ctx.Err() == nil {
		v.screen.Say("a change of the passphrase could not be completed: %s", message(err))
	}
}

// apply puts a new configuration into source, copy and vault, as far as it is
// not there. What somebody else changed meanwhile is left alone.
func (v *vault) apply(ctx context.Context, p *state.Pending) error {
	src, err := v.sourceKey()
	switch {
	case err != nil && p.Source != nil:
		return err
	case err != nil || src == nil && p.Source != nil || bytes.Equal(src, p.Config) || !v.HasSource():
		// A lost one comes back from the copy.
	case src == nil || bytes.Equal(src, p.Source) || usable(src) == nil:
		if kept, _ := v.state.Config(); len(src) > 0 && !bytes.Equal(src, kept) {
			if _, err := v.state.Keep(src, time.Now()); err != nil {
				return proto.Errorf(proto.NoSpace, "cannot keep the old configuration: %w", err).WithHint("check the disk of %s", v.state.Path())
			}
		}
		if err := v.replaceKey(p.Config, p.Time); err != nil {
			return err
		}
	default:
		v.screen.Say("%s was changed meanwhile by somebody else, and was left as it is", v.keyFile())
	}
	if err := v.state.SetConfig(p.Config); err != nil {
		return proto.Errorf(proto.NoSpace, "%w", err).WithHint("check the disk of %s", v.state.Path())
	}
	if p.Vault && p.Destination == v.Destination.Raw {
		if err := v.install(ctx, p); err != nil {
			return err
		}
	}
	last := v.state.Last()
	if last == nil || last.Destination != v.Destination.Raw || p.Destination != v.Destination.Raw || len(last.Config) == 0 || !bytes.Equal(last.Config, p.Source) && !bytes.Equal(last.Config, p.Remote) {
		return nil
	}
	last.Config = p.Config
	return v.state.SetLast(*last)
}

// install lets the guest put a new configuration into the vault.
func (v *vault) install(ctx context.Context, p *state.Pending) error {
	socket, stop, err := v.bridge(ctx, false)
	if err != nil {
		return err
	}
	defer stop()
	req := v.request(proto.OpPasswd)
	req.Destination.Socket = socket
	req.Key = proto.KeyOptions{Task: proto.KeyInstall, Config: p.Config, Replaces: p.Remote, Stamp: p.Stamp, Time: p.Time}
	return v.do(ctx, req, func(e proto.Event) {
		if e.Key != nil && e.Key.Other {
			v.screen.Say("the configuration in %s was changed meanwhile by somebody else, and was left as it is", v.Destination)
		}
	})
}
