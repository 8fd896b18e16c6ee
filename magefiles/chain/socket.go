package chain

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/guest/rundir"
	"fuseless/lima"
	"fuseless/magefiles/bridge"
	"fuseless/templates"
)

// runtimeDir is the runtime folder of a vault in the guest.
func (m *Machine) runtimeDir(ctx context.Context, vault string) (string, error) {
	if _, err := m.guest(ctx); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if dir := m.dirs[vault]; dir != "" {
		return dir, nil
	}
	i, err := m.at()
	if err != nil {
		return "", err
	}
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := proc.Output(wait, proc.Cmd{Argv: i.SSH(templates.GuestFile, "rundir", m.chain.instance, vault), Env: []string{"SSH_AUTH_SOCK="}})
	dir, sockets, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err == nil && !filepath.IsAbs(dir) {
		err = fmt.Errorf("it names %q", dir)
	}
	switch {
	case proc.ExitCode(err) == int(proto.NoSpace):
		return "", proto.Errorf(proto.NoSpace, "cannot make the runtime folder in the VM: %s", proc.Stderr(err)).
			WithHint("its memory is full; `fuseless down` and `fuseless up` make room")
	case err != nil:
		return "", proto.Errorf(proto.Guest, "cannot make the runtime folder in the VM: %w: %s", err, proc.Stderr(err)).
			WithHint("`fuseless logs` shows what the VM says")
	}
	m.dirs[vault] = dir
	m.takeBack(ctx, vault, dir, strings.Fields(sockets))
	return dir, nil
}

// takeBack takes the sockets of runs that were killed out of the VM: the
// connection that they were forwarded over lives on, and so do they.
func (m *Machine) takeBack(ctx context.Context, vault, inGuest string, sockets []string) {
	here, err := rundir.Path(m.chain.instance, vault)
	if err != nil {
		return
	}
	for _, name := range sockets {
		var pid int
		if _, err := fmt.Sscanf(name, bridgeSocket, &pid); err == nil && fmt.Sprintf(bridgeSocket, pid) == name && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			m.unforward(ctx, filepath.Join(inGuest, name), filepath.Join(here, name))
		}
	}
}

// forward makes the host's socket one of the guest, and returns its path there.
func (m *Machine) forward(ctx context.Context, vault, socket string) (inGuest string, err error) {
	dir, err := m.runtimeDir(ctx, vault)
	if err != nil {
		return "", err
	}
	i, err := m.at()
	if err != nil {
		return "", err
	}
	inGuest = filepath.Join(dir, filepath.Base(socket))
	return inGuest, i.Forward(ctx, inGuest, socket)
}

// bridgeIn is the place in the VM of a bridge's socket.
func (m *Machine) bridgeIn(ctx context.Context, vault, socket string) (*bridge.VM, error) {
	dir, err := m.runtimeDir(ctx, vault)
	if err != nil {
		return nil, err
	}
	i, err := m.at()
	return &bridge.VM{Home: i.Home, Name: i.Name, Socket: filepath.Join(dir, filepath.Base(socket))}, err
}

// forget takes the socket of a bridge that has ended out of a VM that runs.
func (m *Machine) forget(ctx context.Context, vault, socket string) {
	i, err := m.at()
	if err != nil || i.Quick() != lima.Running || !i.Connected(ctx) {
		return
	}
	req := proto.Request{Op: proto.OpStatus, Instance: m.chain.instance, Vault: vault}
	_ = m.doIfRunning(ctx, req, func(e proto.Event) {
		if e.Status != nil && e.Status.RunsDir != "" {
			m.unforward(ctx, filepath.Join(e.Status.RunsDir, filepath.Base(socket)), socket)
		}
	})
}

// unforwardTime is short: what is not taken back now, the next run takes back.
const unforwardTime = 5 * time.Second

func (m *Machine) unforward(ctx context.Context, inGuest, socket string) {
	if m.isHung() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, unforwardTime)
	defer cancel()
	if i, err := m.at(); err == nil {
		if err := i.Unforward(ctx, inGuest, socket); err != nil {
			say("warning: %v", err)
		}
	}
}
