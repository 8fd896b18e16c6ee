package passphrase

import (
	"context"
	"runtime"
)

// Ask asks for a secret that is no passphrase, such as a master key, on the
// terminal and without echo. The errors are those of Get at the prompt.
func Ask(ctx context.Context, prompt string) (Secret, error) {
	t, err := OpenTerminal()
	if err != nil {
		return Secret{}, err
	}
	defer t.Close()
	b, err := t.readSecret(ctx, prompt)
	if err != nil {
		return Secret{}, failure(Source{}, err)
	}
	return NewSecret(b), nil
}

// StoreCommand is how a person puts the passphrase of a vault into the keyring
// by hand, on this system.
func StoreCommand(vault string) string { return storeCommand(runtime.GOOS, vault) }
