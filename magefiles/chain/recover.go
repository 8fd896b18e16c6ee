package chain

import (
	"context"
	"encoding/hex"
	"strings"

	"fuseless/guest/proto"
	"fuseless/magefiles/passphrase"
)

// masterKeyBytes is the size of gocryptfs's master key (gocryptfs,
// internal/cryptocore, KeyLen).
const masterKeyBytes = 32

// Recover gives a vault a new passphrase by its master key.
func (c *Chain) Recover(ctx context.Context) error {
	return c.changing(ctx, func(v *vault) error {
		typed, err := passphrase.Ask(ctx, "master key of vault "+v.Name+": ")
		if err != nil {
			return err
		}
		defer typed.Wipe()
		key, err := parseMasterKey(string(typed.Reveal()))
		if err != nil {
			return err
		}
		pass, err := v.askNew(ctx)
		if err != nil {
			return err
		}
		p, err := v.newConfig(ctx, "", key, pass)
		if err != nil {
			return err
		}
		return v.commit(ctx, p, pass)
	})
}

// parseMasterKey reads a key as it stands on paper: eight groups of eight
// hexadecimal digits, with dashes or blanks, or without.
func parseMasterKey(s string) (proto.Secret, error) {
	s = strings.ToLower(strings.NewReplacer("-", "", " ", "", "\t", "").Replace(s))
	if _, err := hex.DecodeString(s); err != nil && !strings.Contains(err.Error(), "odd length") {
		return "", proto.Errorf(proto.Passphrase, "that is no master key: it has other characters than 0 to 9, a to f, dashes and blanks").
			WithHint("it has eight groups of eight characters; nothing was changed")
	}
	if len(s) != 2*masterKeyBytes {
		return "", proto.Errorf(proto.Passphrase, "that is no master key: it has %d digits and not %d", len(s), 2*masterKeyBytes).
			WithHint("it has eight groups of eight characters; nothing was changed")
	}
	return proto.Secret(s), nil
}

// mendVault puts the copy, or the source's configuration, into a vault whose own is
// missing or damaged, and says whether it did: then what failed can be tried
// again. cause is that failure.
func (v *vault) mendVault(ctx context.Context, cause error) bool {
	if proto.CodeOf(cause) != proto.Vault || ctx.Err() != nil {
		return false
	}
	src, _ := v.sourceKey()
	src = usable(src)
	cp := v.goodCopy()
	if src == nil && cp == nil {
		return false
	}
	pass, err := v.passphrase(ctx)
	if err != nil {
		return false
	}
	socket, stop, err := v.bridge(ctx, false)
	if err != nil {
		return false
	}
	defer stop()
	req := v.request(proto.OpPasswd)
	req.Destination.Socket = socket
	req.Passphrase = pass
	req.Key = proto.KeyOptions{Task: proto.KeyMend, HasSource: v.HasSource(), Source: src, Copy: cp}
	mended := false
	if err := v.do(ctx, req, func(e proto.Event) { mended = mended || e.Key != nil && len(e.Key.Config) > 0 }); err != nil {
		v.screen.Say("the vault's configuration could not be put back: %s", message(err))
		return false
	}
	if mended {
		v.screen.Say("the configuration in %s was missing or damaged: put back from the copy; a damaged one is in the trash", v.Destination)
	}
	return mended
}
