package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"fuseless/guest/proto"
)

// Pending is a new configuration that is on its way to source, copy and vault.
// From when it is written until it is removed, every run goes on with it. It
// holds no secret: a configuration is locked by its passphrase.
type Pending struct {
	Time        time.Time `json:"time"`   // of the new files, in whole seconds
	Stamp       string    `json:"stamp"`  // folder in the trash for the vault's old one
	Config      []byte    `json:"config"` // the new one
	Source      []byte    `json:"source,omitempty"`
	Remote      []byte    `json:"remote,omitempty"`
	Vault       bool      `json:"vault,omitempty"` // there is a vault that must follow
	Destination string    `json:"destination"`
}

func (d Dir) pendingFile() string { return filepath.Join(d.path, "passwd.json") }

// Pending reads what an interrupted run left; nil if there is nothing.
func (d Dir) Pending() (*Pending, error) {
	b, err := os.ReadFile(d.pendingFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var p Pending
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", d.pendingFile(), err)
	}
	return &p, nil
}

// SetPending records p, safely on the disk.
func (d Dir) SetPending(p Pending) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(d.pendingFile(), b, 0o600); err != nil {
		return proto.Errorf(proto.NoSpace, "cannot write to the state folder: %w", err).
			WithHint("check that %s may be written and that its disk is not full; nothing was changed", d.path)
	}
	if err := d.sync(); err != nil {
		_ = os.Remove(d.pendingFile())
		return err
	}
	return nil
}

// Done forgets what was pending.
func (d Dir) Done() error {
	if err := os.Remove(d.pendingFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return d.sync()
}

func (d Dir) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Keep keeps a configuration that is replaced and may be the only one of its
// kind, and returns its path.
func (d Dir) Keep(b []byte, now time.Time) (string, error) {
	for i := range 100 {
		p := filepath.Join(d.path, "gocryptfs.reverse.conf.replaced-"+now.UTC().Format("20060102T150405Z"))
		if i > 0 {
			p = fmt.Sprintf("%s-%d", p, i)
		}
		if have, err := os.ReadFile(p); err == nil && string(have) == string(b) {
			return p, nil
		} else if err == nil {
			continue
		}
		return p, renameio.WriteFile(p, b, 0o600)
	}
	return "", errors.New("too many replaced configurations in " + d.path)
}

func (d Dir) unshownFile() string { return filepath.Join(d.path, "master-key-not-shown") }

// Unshown tells whether a configuration was made whose master key nobody has
// seen yet.
func (d Dir) Unshown() bool {
	_, err := os.Stat(d.unshownFile())
	return err == nil
}

// SetUnshown remembers it.
func (d Dir) SetUnshown(on bool) error {
	if !on {
		_ = os.Remove(d.unshownFile())
		return nil
	}
	return os.WriteFile(d.unshownFile(), nil, 0o600)
}
