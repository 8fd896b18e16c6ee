package lima

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"fuseless/guest/proto"
	"fuseless/templates"
)

// Action is what Converge did.
type Action string

// The actions.
const (
	Nothing   Action = "nothing"   // it runs, as rendered
	Created   Action = "created"   // and started
	Started   Action = "started"   // it was stopped, or still starting
	Restarted Action = "restarted" // since the rendering changed, or something in it had failed
)

// Options are for Converge.
type Options struct {
	Timeout  time.Duration // to become ready; 0: ten minutes, as limactl
	ViewLive bool          // a view is mounted or served from the VM: do not restart it
	Progress func(Progress)
}

// marker is the file in an instance's folder that makes it ours.
const marker = "fuseless.json"

type mark struct {
	Rendering string `json:"rendering"` // Hash of lima.yaml
}

// Hash tells one rendering from another, as far as a running VM must be
// restarted for it: the guest binary is not in it, since that is replaced in the
// running VM.
func Hash(yaml []byte) string {
	h := sha256.Sum256(templates.WithoutGuest(yaml))
	return hex.EncodeToString(h[:])
}

// intent is the file beside the instance's folder that says that we are
// creating it: limactl makes the folder itself, and may be killed half-way.
func (i Instance) intent() string { return filepath.Join(i.Home, "."+i.Name+".creating") }

// ours reads the marker; nil if there is none.
func (i Instance) ours() *mark {
	b, err := os.ReadFile(i.file(marker))
	if err != nil {
		return nil
	}
	var m mark
	if json.Unmarshal(b, &m) != nil {
		return &mark{} // damaged, but ours
	}
	return &m
}

func (i Instance) setMark(rendering string) error {
	b, err := json.Marshal(mark{rendering})
	if err != nil {
		return err
	}
	return renameio.WriteFile(i.file(marker), b, 0o600)
}

// foreign returns an error if the name is taken by an instance that is not
// ours. The error is a *proto.Error with code Config.
func (i Instance) foreign() error {
	if _, err := os.Lstat(i.Dir()); err != nil || i.ours() != nil {
		return nil
	}
	if _, err := os.Stat(i.intent()); err == nil {
		return nil
	}
	return proto.Errorf(proto.Config, "the VM %s in %s was not made by fuseless", i.Name, i.Home).
		WithHint("it is left alone: choose another name or folder for the VM, or remove that one with `LIMA_HOME=%s limactl delete %s`", i.Home, i.Name)
}

// Create creates the instance from yaml, without starting it.
func (i Instance) Create(ctx context.Context, yaml []byte) error {
	if err := i.check(); err != nil {
		return err
	}
	if err := i.foreign(); err != nil {
		return err
	}
	unlock, err := i.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return i.create(ctx, yaml)
}

// maxTemplate is the size of a template that Lima refuses to exceed, in bytes
// (pkg/limatmpl, yBytesLimit).
const maxTemplate = 4 << 20

func (i Instance) create(ctx context.Context, yaml []byte) error {
	if len(yaml) > maxTemplate {
		return proto.Errorf(proto.Internal, "the description of the VM has %d bytes, and Lima takes at most %d", len(yaml), maxTemplate).
			WithHint("the guest binary is most of it, and must become smaller")
	}
	if err := os.WriteFile(i.intent(), nil, 0o600); err != nil {
		return proto.Errorf(failed, "create the VM: %w", err)
	}
	if _, err := i.limactl(ctx, yaml, nil, "create", "--name="+i.Name, "-"); err != nil {
		return proto.Errorf(failed, "create the VM: %w", err)
	}
	if err := i.setMark(Hash(yaml)); err != nil {
		return proto.Errorf(failed, "create the VM: %w", err)
	}
	return os.Remove(i.intent())
}

// Converge makes the instance run as yaml has it, and returns what it did: it
// creates it, starts it, restarts it if yaml is not what it was made from, or
// does nothing. It can be killed at any time and run again. Another guest binary
// alone needs no restart: putting it into the running VM is the caller's.
//
// The errors are *proto.Errors: Busy where a restart is needed and a view is
// live, Config where the name is taken by a foreign instance, Interrupted where
// ctx ended.
func (i Instance) Converge(ctx context.Context, yaml []byte, o Options) (Action, error) {
	if err := i.check(); err != nil {
		return Nothing, err
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	unlock, err := i.lock(ctx)
	if err != nil {
		return Nothing, err
	}
	defer unlock()
	if err := i.foreign(); err != nil {
		return Nothing, err
	}
	i.removeStalePIDs()
	m, state := i.ours(), i.Quick()
	if _, err := os.Lstat(i.Dir()); err == nil && (m == nil || state == Absent) {
		// Ours, but never completed.
		if err := i.remove(ctx); err != nil {
			return Nothing, err
		}
		state = Absent
	}
	action := plan(state, m != nil && m.Rendering == Hash(yaml))
	switch action {
	case Nothing:
		// The next boot shall bring the guest binary that this rendering has.
		return Nothing, i.replace(yaml)
	case Restarted:
		if o.ViewLive {
			return Nothing, proto.Errorf(proto.Busy, "the VM must be restarted, and a view is open").
				WithHint("take the view down first, then run this again")
		}
		if err := i.stop(ctx); err != nil {
			return Nothing, err
		}
	case Created:
		if err := i.create(ctx, yaml); err != nil {
			return Nothing, err
		}
	}
	if action != Created {
		if err := i.replace(yaml); err != nil {
			return Nothing, err
		}
	}
	return action, i.Start(ctx, o.Timeout, o.Progress)
}

// plan is what must be done.
func plan(state State, same bool) Action {
	switch {
	case state == Absent:
		return Created
	case state == Stopped, state == Starting && same:
		return Started
	case state == Running && same:
		return Nothing
	}
	return Restarted
}

// replace puts a rendering into the instance; Lima reads it at the next start.
func (i Instance) replace(yaml []byte) error {
	have, err := os.ReadFile(i.file("lima.yaml"))
	if err == nil && bytes.Equal(have, yaml) && i.ours() != nil && i.ours().Rendering == Hash(yaml) {
		return nil
	}
	err = renameio.WriteFile(i.file("lima.yaml"), yaml, 0o644)
	if err == nil {
		err = i.setMark(Hash(yaml))
	}
	if err != nil {
		return proto.Errorf(failed, "change the VM: %w", err)
	}
	return nil
}
