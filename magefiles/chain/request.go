package chain

import (
	"context"
	"errors"
	"slices"
	"strings"

	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/config"
	"fuseless/magefiles/guestrun"
	"fuseless/templates"
)

// guest is the guest in the VM, which is made and started if need be.
func (m *Machine) guest(ctx context.Context) (*guestrun.Guest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ready {
		action, _, err := m.converge(ctx)
		if err != nil {
			return nil, err
		}
		if action != lima.Nothing {
			say("%s", action)
		}
	}
	return m.running()
}

// running is the guest in a VM that is taken to run.
func (m *Machine) running() (*guestrun.Guest, error) {
	i, err := m.at()
	if err != nil {
		return nil, err
	}
	return &guestrun.Guest{Argv: i.SSH(templates.GuestFile, "run"), Remote: true}, nil
}

// ifRunning is the guest in the VM; nil if that does not run.
func (m *Machine) ifRunning(ctx context.Context) (*guestrun.Guest, error) {
	i, err := m.at()
	if err != nil {
		return nil, err
	}
	if s := i.Quick(); s != lima.Running && s != lima.Degraded {
		return nil, nil
	}
	if err := i.Connect(ctx); err != nil {
		return nil, err
	}
	return m.running()
}

// doIfRunning sends a request that has nothing to do where the VM does not run,
// and that ends where the VM hangs.
func (m *Machine) doIfRunning(ctx context.Context, req proto.Request, on func(proto.Event)) error {
	return m.whileAnswering(ctx, func(ctx context.Context) error { return m.ask(ctx, req, on) })
}

func (m *Machine) ask(ctx context.Context, req proto.Request, on func(proto.Event)) error {
	g, err := m.ifRunning(ctx)
	switch {
	case err != nil:
		return err
	case g != nil:
		return g.Do(ctx, req, m.translated(on))
	case req.Op == proto.OpStatus:
		on(proto.Event{Kind: proto.KindResult, Status: &proto.Status{}})
		return nil
	case req.Op == proto.OpSession:
		return proto.Errorf(proto.Serve, "the VM does not run, so nothing is served").WithHint("run `fuseless open`")
	}
	return nil
}

// passive are the operations for which a VM is not started.
var passive = []proto.Op{proto.OpStatus, proto.OpSession, proto.OpUnserve, proto.OpUnmount, proto.OpTeardown}

// do sends a request to the guest in the VM.
func (m *Machine) do(ctx context.Context, req proto.Request, on func(proto.Event)) error {
	var err error
	if slices.Contains(passive, req.Op) {
		err = m.doIfRunning(ctx, req, on)
	} else {
		err = m.doRunning(ctx, req, on)
	}
	var e *proto.Error
	if errors.As(err, &e) {
		e.Message, e.Hint = m.hostPaths(e.Message), m.hostPaths(e.Hint)
	}
	return err
}

// doRunning sends a request to the guest in the VM, which runs until it is done.
func (m *Machine) doRunning(ctx context.Context, req proto.Request, on func(proto.Event)) error {
	g, err := m.guest(ctx)
	if err != nil {
		return err
	}
	i, err := m.at()
	if err != nil {
		return err
	}
	done, err := i.Use(ctx)
	if err != nil {
		return err
	}
	defer done()
	return g.Do(ctx, req, m.translated(on))
}

// translated shows the host's paths where the guest names its own.
func (m *Machine) translated(on func(proto.Event)) func(proto.Event) {
	return func(e proto.Event) {
		if on == nil {
			return
		}
		e.Text, e.Hint = m.hostPaths(e.Text), m.hostPaths(e.Hint)
		if e.Restore != nil {
			e.Restore.To = m.hostPaths(e.Restore.To)
		}
		on(e)
	}
}

func (m *Machine) hostPaths(text string) string {
	if !strings.Contains(text, "/mnt/fuseless/") {
		return text
	}
	pairs := []string{templates.RestorePoint, m.chain.Config.VM.RestoreDir}
	for _, v := range m.chain.Config.Vaults {
		if v.HasSource() {
			pairs = append(pairs, templates.MountPoint(v.Source), v.Source)
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// inGuest makes a request about a vault one for the VM.
func (m *Machine) inGuest(v config.Vault, req *proto.Request) {
	if v.HasSource() {
		req.Source, req.Mounted = templates.MountPoint(v.Source), true
	}
}
