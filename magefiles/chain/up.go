package chain

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/state"
)

// Up makes the VM run as the configuration has it, with our guest binary, and
// says on standard output what it did.
func (c *Chain) Up(ctx context.Context) error {
	m, err := c.needMachine()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	action, installed, err := m.converge(ctx)
	if err != nil {
		return err
	}
	if action == lima.Nothing {
		fmt.Println("vm: nothing to do")
	} else {
		fmt.Println("vm: " + action)
	}
	if installed {
		fmt.Println("guest: installed")
	}
	return nil
}

// converge is Up. The caller holds mu.
func (m *Machine) converge(ctx context.Context) (action lima.Action, installed bool, err error) {
	i, err := m.at()
	if err != nil {
		return lima.Nothing, false, err
	}
	if os.Geteuid() == 0 {
		_, err := m.tool(ctx)
		return lima.Nothing, false, err
	}
	if err := i.Check(); err != nil {
		return lima.Nothing, false, err
	}
	yaml, err := m.rendering(ctx, i)
	if err != nil {
		return lima.Nothing, false, err
	}
	o := lima.Options{}
	if plan := i.Plan(yaml); plan != lima.Nothing {
		if o, err = m.prepare(ctx, &i); err != nil {
			return lima.Nothing, false, err
		}
		if plan == lima.Restarted {
			if err := m.notAtWork(false); err != nil { // who mounts is seen by viewLive
				return lima.Nothing, false, err
			}
			done, err := i.Alone(ctx)
			if err != nil {
				return lima.Nothing, false, err
			}
			defer done()
			o.ViewLive = m.viewLive(ctx)
		}
	}
	if action, err = i.Converge(ctx, yaml, o); err != nil {
		return action, false, err
	}
	if action == lima.Restarted && i.DiskChanged(yaml) {
		say("warning: the VM keeps the disk that it was made with; for another image or size, `fuseless destroy` and `fuseless up`")
	}
	if err := i.Connect(ctx); err != nil {
		return action, false, err
	}
	installed, err = i.InstallGuest(ctx, yaml, func() ([]byte, error) {
		packed, err := guestbin.Packed(ctx, runtime.GOARCH)
		if err != nil {
			return nil, err
		}
		return guestbin.Unpack(packed)
	})
	m.ready = err == nil
	return action, installed, err
}

// prepare makes what starting the VM needs.
func (m *Machine) prepare(ctx context.Context, i *lima.Instance) (o lima.Options, err error) {
	if i.Tool, err = m.tool(ctx); err != nil {
		return o, err
	}
	if err := lima.NeedQEMU(); err != nil {
		return o, err
	}
	if dir := m.chain.Config.VM.RestoreDir; dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return o, proto.Errorf(proto.Config, "cannot make the folder that the VM restores into: %w", err).WithHint("see `vm.restore` in %s", m.chain.Config.File)
		}
	}
	accel := lima.Accelerate(ctx)
	if w := accel.Warning(); w != "" {
		say("warning: %s", w)
	}
	i.Env = accel.Env()
	return lima.Options{Timeout: accel.Timeout(), Progress: newProgress(m.chain.Verbose).show}, nil
}

// notAtWork says whether another process is at work in the VM, which a restart or
// a stop would break; with mounting also one that mounts, or waits for uploads.
func (m *Machine) notAtWork(mounting bool) error {
	for _, v := range m.chain.Config.Vaults {
		st, err := state.Open(m.chain.instance, v.Name)
		if err != nil {
			return err
		}
		holder := st.Other()
		if holder == "" && mounting {
			holder = st.OtherMounting()
		}
		if holder != "" {
			return proto.Errorf(proto.Busy, "%s is at work in the VM, on the vault %s", holder, v.Name).
				WithHint("wait until it has ended, or stop it")
		}
	}
	return nil
}

// viewLive says whether something of a vault is mounted or served from the VM.
func (m *Machine) viewLive(ctx context.Context) bool {
	for _, v := range m.chain.Config.Vaults {
		live := false
		req := proto.Request{Op: proto.OpStatus, Instance: m.chain.instance, Vault: v.Name}
		if err := m.doIfRunning(ctx, req, func(e proto.Event) {
			if s := e.Status; s != nil && (s.View != nil && s.View.Alive || s.Server != nil) {
				live = true
			}
		}); live || err != nil {
			return true // a guest that does not answer may have one
		}
	}
	return false
}
