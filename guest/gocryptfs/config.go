package gocryptfs

import (
	"encoding/json"
	"slices"

	"fuseless/guest/proto"
)

// File names of a vault's configuration: in the vault, and in a source.
const (
	ConfigName        = "gocryptfs.conf"
	ReverseConfigName = ".gocryptfs.reverse.conf"
)

// Config is what we read of a gocryptfs.conf (gocryptfs(1), internal/configfile).
type Config struct {
	Version      int
	FeatureFlags []string
	EncryptedKey []byte
}

// ParseConfig reads a configuration and checks that gocryptfs could use it.
func ParseConfig(b []byte) (*Config, error) {
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, proto.Errorf(proto.Vault, "the vault's configuration is damaged: %w", err)
	}
	if c.Version != 2 || len(c.EncryptedKey) == 0 {
		return nil, proto.Errorf(proto.Vault, "the vault's configuration is damaged: no key, or version %d instead of 2", c.Version)
	}
	return &c, nil
}

// PlaintextNames tells whether names are not encrypted (-plaintextnames). Such
// a vault cannot be told from gocryptfs's own files by name.
func (c *Config) PlaintextNames() bool { return slices.Contains(c.FeatureFlags, "PlaintextNames") }

// DirIV tells whether each folder has a directory IV; with -deterministic-names
// none has.
func (c *Config) DirIV() bool { return slices.Contains(c.FeatureFlags, "DirIV") }

// LongNames tells whether a name that is too long once it is encrypted is kept
// in a file of its own.
func (c *Config) LongNames() bool { return slices.Contains(c.FeatureFlags, "LongNames") }

// Reverse tells whether the configuration can serve a reverse mount, which
// needs deterministic encryption (AES-SIV).
func (c *Config) Reverse() bool { return slices.Contains(c.FeatureFlags, "AESSIV") }
