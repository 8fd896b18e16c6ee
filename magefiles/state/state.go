// Package state keeps what the host remembers of a vault: the lock, the last
// result, and a copy of the vault's configuration. All of it are hints but the
// copy, which may be the only key file left when the source is lost.
package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"fuseless/guest/proto"
	"fuseless/guest/rundir"
)

// Dir is the state folder of one vault.
type Dir struct {
	path  string
	vault string
}

// Open makes the folder if it is missing.
func Open(instance, vault string) (Dir, error) {
	path, err := rundir.MakeStateDir(instance, vault)
	return Dir{path, vault}, err
}

// Path of the folder.
func (d Dir) Path() string { return d.path }

// Lock takes the vault's lock, which the kernel drops when this process ends,
// however it ends. Two backups of a vault exclude each other.
func (d Dir) Lock() (unlock func(), err error) {
	l := d.lock("lock")
	ok, err := l.TryLock()
	if err != nil {
		return nil, rundir.StateError(d.path, "cannot lock the vault "+d.vault, err)
	}
	if !ok {
		return nil, d.busy(l)
	}
	return d.held(l), nil
}

// Other is the process that holds the vault's lock, such as "pid 12, since …",
// if that is another one than this; else "".
func (d Dir) Other() string { return d.other("lock") }

// OtherMounting is Other for the lock of LockMounts.
func (d Dir) OtherMounting() string { return d.other("mounts.lock") }

func (d Dir) other(name string) string {
	l := d.lock(name)
	if ok, err := l.TryLock(); ok || err != nil {
		_ = l.Unlock()
		return ""
	}
	b, _ := os.ReadFile(l.Path() + ".holder")
	if strings.HasPrefix(string(b), fmt.Sprintf("pid %d,", os.Getpid())) {
		return ""
	}
	if len(b) == 0 {
		return "another process"
	}
	return "the process with " + string(b)
}

// LockMounts takes the lock of the targets that mount, serve and unmount. Mostly
// they are short, so it waits for half a minute; one may wait for uploads.
func (d Dir) LockMounts(ctx context.Context) (unlock func(), err error) {
	l := d.lock("mounts.lock")
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ok, err := l.TryLockContext(limited, 50*time.Millisecond)
	switch {
	case ok:
		return d.held(l), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return nil, d.busy(l)
	}
	return nil, rundir.StateError(d.path, "cannot lock the mounts of "+d.vault, err)
}

func (d Dir) lock(name string) *flock.Flock {
	return flock.New(filepath.Join(d.path, name), flock.SetPermissions(0o600))
}

func (d Dir) busy(l *flock.Flock) error {
	holder := ""
	if b, err := os.ReadFile(l.Path() + ".holder"); err == nil {
		holder = " (" + string(b) + ")"
	}
	return proto.Errorf(proto.Busy, "another run works on the vault %s%s", d.vault, holder).
		WithHint("wait for it to end, or stop it")
}

// held notes who has the lock, for the message of whoever wants it next.
func (d Dir) held(l *flock.Flock) (unlock func()) {
	_ = os.WriteFile(l.Path()+".holder", fmt.Appendf(nil, "pid %d, since %s", os.Getpid(), time.Now().Format(time.DateTime)), 0o600)
	return func() {
		_ = os.Remove(l.Path() + ".holder")
		_ = l.Unlock()
	}
}

// Last is the result of the last backup.
type Last struct {
	Time        time.Time           `json:"time"` // when it ended
	Code        proto.Code          `json:"code"`
	Message     string              `json:"message,omitempty"`
	Success     time.Time           `json:"success,omitzero"` // end of the last one that succeeded
	Began       time.Time           `json:"began,omitzero"`   // and its begin: what the source changed later may not be in it
	Destination string              `json:"destination"`
	Config      []byte              `json:"config,omitempty"` // the configuration on the destination after the last success
	Result      *proto.BackupResult `json:"result,omitempty"`
	Seconds     bool                `json:"seconds,omitempty"` // what was sent since has times in whole seconds, unlike the source
}

func (d Dir) lastFile() string { return filepath.Join(d.path, "last.json") }

// Last reads the last result; nil if there is none.
func (d Dir) Last() *Last {
	b, err := os.ReadFile(d.lastFile())
	if err != nil {
		return nil
	}
	var l Last
	if json.Unmarshal(b, &l) != nil {
		return nil // a hint that is broken is no hint
	}
	return &l
}

// SetLast records a result.
func (d Dir) SetLast(l Last) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(d.lastFile(), append(b, '\n'), 0o600)
}

// ConfigFile is where the copy of the vault's configuration lies.
func (d Dir) ConfigFile() string { return filepath.Join(d.path, "gocryptfs.reverse.conf") }

// Config is the copy of the vault's configuration; nil if there is none.
func (d Dir) Config() ([]byte, error) {
	b, err := os.ReadFile(d.ConfigFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// SetConfig keeps a copy of the vault's configuration.
func (d Dir) SetConfig(b []byte) error {
	if old, err := d.Config(); err == nil && string(old) == string(b) {
		return nil
	}
	if err := renameio.WriteFile(d.ConfigFile(), b, 0o600); err != nil {
		return rundir.StateError(d.path, "cannot keep a copy of the vault's configuration", err)
	}
	return nil
}
