package chain

import (
	"context"
	"os"

	"fuseless/magefiles/config"
	"fuseless/magefiles/passphrase"
)

// Setup asks for what a configuration needs and writes it.
func Setup(ctx context.Context) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	path, err := config.NewPath(os.Environ(), dir)
	if err != nil {
		return err
	}
	asker, err := config.OpenTerminal()
	if err != nil {
		return err
	}
	defer asker.Close()
	if err := config.Setup(ctx, asker, path); err != nil {
		return err
	}
	c, err := config.Load(append(os.Environ(), "FUSELESS_CONFIG="+path), dir)
	if err != nil {
		return err
	}
	for _, v := range c.Vaults {
		if v.Passphrase.Kind != passphrase.Keyring {
			continue
		}
		if _, err := passphrase.Get(ctx, v.Passphrase, passphrase.Options{}); err == nil {
			// Of another configuration, perhaps, and nowhere else: never overwritten.
			asker.Say("The keyring has a passphrase for a vault of the name " + v.Name + " already. It is kept; if this is another vault, give it another name.")
			continue
		}
		asker.Say("The passphrase goes into the keyring now.")
		s, err := passphrase.GetNew(ctx, passphrase.Source{Kind: passphrase.Prompt, Vault: v.Name}, passphrase.Options{})
		if err != nil {
			return err
		}
		if err := passphrase.Store(v.Name, s); err != nil {
			return err
		}
	}
	asker.Say("Next: `fuseless init` makes the vault's configuration, and `fuseless backup` fills it.")
	return nil
}
