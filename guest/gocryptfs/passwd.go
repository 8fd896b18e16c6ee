//go:build linux

package gocryptfs

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// Passwd is config with another passphrase for the same master key. It works on
// a copy in tmp, a folder in memory; the two passphrases go in on standard
// input, the old one first (gocryptfs(1), -passwd).
func Passwd(ctx context.Context, tmp string, config []byte, old, pass proto.Secret) ([]byte, error) {
	b, err := rewrite(ctx, tmp, config, slices.Concat(line(old), line(pass)))
	if err != nil {
		return nil, explain(err, "change the passphrase")
	}
	return b, nil
}

// Recover is config with another passphrase and the master key that is given,
// which gocryptfs cannot check: it replaces whatever key config had. So the
// result must be tried on the vault before it replaces anything.
func Recover(ctx context.Context, tmp string, config []byte, masterKey, pass proto.Secret) ([]byte, error) {
	b, err := rewrite(ctx, tmp, config, slices.Concat(line(masterKey), line(pass)), "-masterkey=stdin")
	if err != nil {
		return nil, explain(err, "set a new passphrase with the master key")
	}
	return b, nil
}

// rewrite runs `gocryptfs -passwd` on a copy of config.
func rewrite(ctx context.Context, tmp string, config, stdin []byte, options ...string) ([]byte, error) {
	dir, err := os.MkdirTemp(tmp, "run-passwd-") // as a run's folder: the next run removes what a killed one left
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, ConfigName)
	if err := os.WriteFile(name, config, 0o600); err != nil {
		return nil, err
	}
	argv := append([]string{"gocryptfs", "-passwd", "-q", "-nosyslog"}, options...)
	// The folder is only looked at; -config names the file whatever the mode is.
	argv = append(argv, "-config", name, "--", dir)
	if err := proc.Run(ctx, proc.Cmd{Argv: argv, Stdin: bytes.NewReader(stdin)}); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if _, err := ParseConfig(b); err != nil {
		return nil, err
	}
	return b, nil
}

// InitWith makes a new configuration for a master key that exists, with the
// settings that gocryptfs gives a new vault, of reverse or of forward mode.
// gocryptfs 2.3 pays no heed to -masterkey with -init: so it makes one with a key
// of its own, which Recover replaces, with the same caution.
func InitWith(ctx context.Context, tmp string, reverse bool, masterKey, pass proto.Secret) ([]byte, error) {
	b, err := Init(ctx, tmp, reverse, pass)
	if err != nil {
		return nil, err
	}
	return Recover(ctx, tmp, b, masterKey, pass)
}
