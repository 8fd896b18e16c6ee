package passphrase

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/zalando/go-keyring"

	"fuseless/guest/proto"
)

// service is the name under which the keyring holds passphrases; the user name
// is the vault's.
const service = "fuseless"

// Store puts the passphrase of a vault into the keyring, over the one that is
// there. It waits a minute for the keyring to be unlocked.
func Store(vault string, s Secret) error {
	if err := check(s.Reveal()); err != nil {
		return failure(Source{Vault: vault}, err)
	}
	_, err := bounded(context.Background(), keyringTimeout, func() (string, error) {
		return "", keyring.Set(service, vault, string(s.Reveal()))
	})
	if err != nil {
		return proto.Errorf(proto.Passphrase, "store the passphrase of vault %s in the keyring: %w", vault, err).
			WithHint("unlock the keyring, or set `passphrase: prompt` for the vault")
	}
	return nil
}

func fromKeyring(ctx context.Context, vault string, timeout time.Duration) ([]byte, error) {
	s, err := bounded(ctx, timeout, func() (string, error) { return keyring.Get(service, vault) })
	switch {
	case err == nil:
		return []byte(s), nil
	case ctx.Err() != nil:
		return nil, interrupted(context.Cause(ctx))
	case errors.Is(err, keyring.ErrNotFound):
		return nil, proto.Errorf(proto.Passphrase, "the keyring has no passphrase for vault %s", vault).
			WithHint("store it: %s", storeCommand(runtime.GOOS, vault))
	default:
		return nil, proto.Errorf(proto.Passphrase, "passphrase of vault %s from the keyring: %w", vault, err).
			WithHint("unlock the keyring, or set `passphrase: prompt` for the vault")
	}
}

// storeCommand is how a person stores a passphrase by hand such that go-keyring
// finds it (the attributes are those of its keyring_unix.go and
// keyring_darwin.go). Both programs ask for the passphrase.
func storeCommand(goos, vault string) string {
	if goos == "darwin" {
		return fmt.Sprintf("security add-generic-password -U -s %s -a %s -w", service, vault)
	}
	return fmt.Sprintf("secret-tool store --label='fuseless %s' service %s username %s", vault, service, vault)
}

// bounded gives up waiting for f: a locked keyring waits for a dialogue that
// nobody may see, and go-keyring takes no context. The goroutine is left behind.
func bounded(ctx context.Context, timeout time.Duration, f func() (string, error)) (string, error) {
	type answer struct {
		s   string
		err error
	}
	done := make(chan answer, 1)
	go func() {
		s, err := f()
		done <- answer{s, err}
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case a := <-done:
		return a.s, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	case <-timer.C:
		return "", fmt.Errorf("no answer within %v; it may be locked", timeout)
	}
}
