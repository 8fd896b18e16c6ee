package lima

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"fuseless/guest/proc"
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
	Rendering string `json:"rendering"`       // Hash of lima.yaml
	Guest     string `json:"guest,omitempty"` // guestHash of the binary that the VM runs
	Owner     string `json:"owner,omitempty"` // Instance.Owner
	Disk      string `json:"disk,omitempty"`  // diskHash of what it was made from
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

// guestHash tells one guest binary in a rendering from another.
func guestHash(yaml []byte) string {
	h := sha256.Sum256(yaml[len(templates.WithoutGuest(yaml)):])
	return hex.EncodeToString(h[:])
}

func diskHash(yaml []byte) string {
	h := sha256.Sum256(templates.Disk(yaml))
	return hex.EncodeToString(h[:])
}

// DiskChanged says whether yaml has another image or size of the disk than the VM
// was made with. Only a new VM gets them.
func (i Instance) DiskChanged(yaml []byte) bool {
	m := i.ours()
	return m != nil && m.Disk != "" && m.Disk != diskHash(yaml)
}

func (i Instance) setMark(m mark) error {
	m.Owner = i.Owner
	if old := i.ours(); m.Disk == "" && old != nil {
		m.Disk = old.Disk
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return renameio.WriteFile(i.file(marker), b, 0o600)
}

// foreign returns an error if the name is taken by an instance that is not
// ours. The error is a *proto.Error with code Config.
func (i Instance) foreign() error {
	if _, err := os.Lstat(i.Dir()); err != nil {
		return nil
	}
	if m := i.ours(); m != nil {
		if m.Owner == "" || m.Owner == i.Owner || i.Owner == "" {
			return nil
		}
		if _, err := os.Stat(m.Owner); err != nil {
			return nil // it was moved, or is gone
		}
		return proto.Errorf(proto.Config, "the VM %s belongs to the configuration %s", i.Name, m.Owner).
			WithHint("give this one's VM another name: `vm: {name: …}`")
	}
	if _, err := os.Stat(i.intent()); err == nil {
		return nil
	}
	return proto.Errorf(proto.Config, "the VM %s in %s was not made by fuseless", i.Name, i.Home).
		WithHint("it is left alone: choose another name or folder for the VM, or remove that one with `LIMA_HOME=%s limactl delete %s`", i.Home, i.Name)
}

// Check says what keeps the instance from being used here, before anything is
// started. The error is a *proto.Error: Prerequisite for root, Config for its
// folder, and where the name is taken by an instance that is not ours.
func (i Instance) Check() error {
	if err := i.check(); err != nil {
		return err
	}
	return i.foreign()
}

// begin is Check, and keeps others from changing the instance.
func (i Instance) begin(ctx context.Context) (unlock func(), err error) {
	if err := i.Check(); err != nil {
		return nil, err
	}
	return i.lock(ctx)
}

// Create creates the instance from yaml, without starting it.
func (i Instance) Create(ctx context.Context, yaml []byte) error {
	unlock, err := i.begin(ctx)
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
		// Nothing half-made stays; what a killed run leaves, the next one removes.
		rerr := i.remove(context.WithoutCancel(ctx))
		if rerr == nil {
			_ = os.Remove(i.intent())
		}
		if ctx.Err() != nil {
			return proto.Errorf(proto.Interrupted, "interrupted while the VM %s is made: %w", i.Name, ctx.Err()).WithHint("run it again")
		}
		return proto.Errorf(failed, "create the VM: %w", errors.Join(err, rerr)).
			WithHint("its image is fetched now: is the network there, and is `vm: {image: …}`, if you gave one, right? then run it again")
	}
	if err := i.setMark(mark{Rendering: Hash(yaml), Disk: diskHash(yaml)}); err != nil {
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
	// Another run may be starting it.
	unlock, err := i.lockFor(ctx, o.Timeout)
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
	if action != Nothing && i.Tool.Path == "" {
		return Nothing, proto.Errorf(proto.Internal, "the VM %s must be %s, and no limactl is given", i.Name, action)
	}
	switch action {
	case Nothing:
		// The next boot shall bring the guest binary that this rendering has.
		return Nothing, i.replace(yaml)
	case Restarted:
		if o.ViewLive {
			return Nothing, proto.Errorf(proto.Busy, "the VM must be restarted, and a view is open").
				WithHint("its description changed, or something in it failed: take the view down with `fuseless close`, or all with `fuseless down`, then run this again")
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
	if err := i.Start(ctx, o.Timeout, o.Progress); err != nil {
		return action, err
	}
	// A boot installs what lima.yaml carries.
	if err := i.setMark(mark{Rendering: Hash(yaml), Guest: guestHash(yaml)}); err != nil {
		return action, proto.Errorf(failed, "change the VM: %w", err)
	}
	return action, nil
}

// Plan is what Converge would do, without limactl.
func (i Instance) Plan(yaml []byte) Action {
	m, state := i.ours(), i.Quick()
	if m == nil {
		return Created
	}
	return plan(state, m.Rendering == Hash(yaml))
}

// InstallGuest puts the guest binary that yaml carries into the running VM,
// unless it is there, and says whether it did. What runs keeps the old one.
// binary is that binary, unpacked.
func (i Instance) InstallGuest(ctx context.Context, yaml []byte, binary func() ([]byte, error)) (bool, error) {
	m := i.ours()
	if m == nil || m.Guest == guestHash(yaml) {
		return false, nil
	}
	data, err := binary()
	if err != nil {
		return false, err
	}
	if err := i.Connect(ctx); err != nil {
		return false, err
	}
	wait, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	// Renamed over the old one, which may be running.
	const script = `new=$(mktemp "$1.new.XXXXXX") && cat >"$new" && chmod 755 "$new" && "$new" version >/dev/null && sync "$new" && mv -f "$new" "$1" || { rm -f "$new"; exit 1; }`
	if err := proc.Run(wait, proc.Cmd{
		Argv: i.SSH("sudo", "-n", "sh", "-c", script, "sh", templates.GuestFile), Env: []string{"SSH_AUTH_SOCK="}, Stdin: bytes.NewReader(data),
	}); err != nil {
		return false, proto.Errorf(failed, "install the guest binary in the VM: %w", err).
			WithHint("is its disk full? `fuseless down` and `fuseless up` install it at the next boot")
	}
	if now := i.ours(); now != nil {
		m = now // another run may have changed it meanwhile
	}
	m.Guest = guestHash(yaml)
	return true, i.setMark(*m)
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
		m := mark{Rendering: Hash(yaml)}
		if old := i.ours(); old != nil {
			m.Guest = old.Guest
		}
		err = i.setMark(m)
	}
	if err != nil {
		return proto.Errorf(failed, "change the VM: %w", err)
	}
	return nil
}
