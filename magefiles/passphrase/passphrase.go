// Package passphrase gets the passphrase of a vault from where the
// configuration says: the terminal, the keyring, or a command.
package passphrase

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"fuseless/guest/proto"
)

// Where a passphrase comes from; the values of Source.Kind and of `passphrase` in
// fuseless.yaml.
const (
	Prompt  = "prompt"
	Keyring = "keyring"
	Command = "command"
)

// MaxLength is the longest passphrase, in bytes: gocryptfs reads no more
// (internal/readpassword, maxPasswordLen).
const MaxLength = 2048

// attempts is how often a new passphrase is asked for until both answers agree.
const attempts = 3

// Source says where the passphrase of one vault comes from.
type Source struct {
	Kind    string   // Prompt, Keyring or Command; empty is Prompt
	Command []string // argv, for Command
	Vault   string   // the vault's name: shown in the prompt, the user name in the keyring
}

// Options are the surroundings; the zero value is right outside tests.
type Options struct {
	Stderr         io.Writer     // where a command's standard error goes; nil: os.Stderr
	KeyringTimeout time.Duration // how long an answer of the keyring is waited for; 0: a minute
	CommandTimeout time.Duration // how long a command is waited for where there is no terminal; 0: a minute
}

func (o Options) stderr() io.Writer {
	if o.Stderr == nil {
		return os.Stderr
	}
	return o.Stderr
}

// commandTimeout is how long a command may take where nobody sees that it
// hangs. A pinentry with a window may show there, too.
const commandTimeout = time.Minute

func (o Options) commandTimeout() time.Duration {
	if o.CommandTimeout == 0 {
		return commandTimeout
	}
	return o.CommandTimeout
}

// keyringTimeout leaves time to answer the dialogue that unlocks a keyring.
const keyringTimeout = time.Minute

func (o Options) keyringTimeout() time.Duration {
	if o.KeyringTimeout == 0 {
		return keyringTimeout
	}
	return o.KeyringTimeout
}

// Get gets the passphrase of an existing vault. It is never empty, at most
// MaxLength bytes, and holds no newline, carriage return or NUL.
//
// Errors: proto.Passphrase if there is none or a wrong one, proto.Terminal if
// it must be asked for and there is no terminal, proto.Interrupted if ctx ended
// or a signal came first.
func Get(ctx context.Context, src Source, o Options) (Secret, error) {
	return get(ctx, src, o, func(t *Terminal) ([]byte, error) {
		b, err := t.readSecret(ctx, question(src, "passphrase"))
		if err != nil {
			return nil, err
		}
		return b, check(b)
	})
}

// GetNew gets the passphrase for a new vault. At the prompt it is asked for
// twice, three times over until the two agree; a keyring or a command gives it
// once. The errors are those of Get.
func GetNew(ctx context.Context, src Source, o Options) (Secret, error) {
	return get(ctx, src, o, func(t *Terminal) ([]byte, error) { return askTwice(ctx, t, src) })
}

func get(ctx context.Context, src Source, o Options, ask func(*Terminal) ([]byte, error)) (Secret, error) {
	var b []byte
	var err error
	switch src.Kind {
	case Prompt, "":
		b, err = prompt(ask)
	case Keyring:
		b, err = fromKeyring(ctx, src.Vault, o.keyringTimeout())
	case Command:
		b, err = fromCommand(ctx, src.Command, o)
	default:
		return Secret{}, proto.Errorf(proto.Config, "passphrase: unknown kind %q", src.Kind)
	}
	if err == nil {
		err = check(b)
	}
	if err != nil {
		clear(b)
		return Secret{}, failure(src, err)
	}
	return NewSecret(b), nil
}

func prompt(ask func(*Terminal) ([]byte, error)) ([]byte, error) {
	t, err := OpenTerminal()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return ask(t)
}

func askTwice(ctx context.Context, t *Terminal, src Source) ([]byte, error) {
	for n := 1; ; n++ {
		first, err := t.readSecret(ctx, question(src, "new passphrase"))
		if err == nil {
			err = check(first)
		}
		if err == nil {
			var second []byte
			second, err = t.readSecret(ctx, "the same again: ")
			if err == nil && !bytes.Equal(first, second) {
				err = invalid("the two are not the same")
			}
			clear(second)
		}
		if err == nil {
			return first, nil
		}
		clear(first)
		var bad invalid
		if n == attempts || !errors.As(err, &bad) {
			return nil, err
		}
		t.Say("fuseless: " + err.Error())
	}
}

func question(src Source, what string) string {
	if src.Vault == "" {
		return what + ": "
	}
	return what + " of vault " + src.Vault + ": "
}

// invalid is what is wrong with a passphrase that was given.
type invalid string

func (e invalid) Error() string { return string(e) }

// check refuses what gocryptfs would take for another passphrase than was
// meant: it counts only the first line.
func check(b []byte) error {
	switch {
	case len(b) == 0:
		return invalid("the passphrase is empty")
	case len(b) > MaxLength:
		return invalid("the passphrase is longer than 2048 bytes")
	case bytes.ContainsAny(b, "\n\r\x00"):
		return invalid("the passphrase holds a line break or a NUL byte")
	}
	return nil
}

// failure gives err its exit code. The text never holds anything of the
// passphrase.
func failure(src Source, err error) error {
	var e *proto.Error
	if errors.As(err, &e) {
		return err
	}
	of := "passphrase"
	if src.Vault != "" {
		of += " of vault " + src.Vault
	}
	e = proto.Errorf(proto.Passphrase, "%s: %w", of, err)
	switch src.Kind {
	case Command:
		return e.WithHint("the command %s must print the passphrase, and nothing else, on one line", filepath.Base(src.Command[0]))
	case Keyring:
		return e.WithHint("store it anew: %s", storeCommand(runtime.GOOS, src.Vault))
	}
	return e.WithHint("it is one line of at most %d bytes; run it again", MaxLength)
}

func interrupted(err error) *proto.Error {
	return proto.Errorf(proto.Interrupted, "passphrase: %w", err)
}
