package chain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/adrg/xdg"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/bridge"
	"fuseless/magefiles/config"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/guestrun"
	"fuseless/magefiles/passphrase"
	"fuseless/magefiles/state"
	"fuseless/templates"
)

// Machine is the VM of `guest: lima`.
type Machine struct {
	chain *Chain

	mu    sync.Mutex
	ready bool              // it runs, as rendered, with our guest binary
	dirs  map[string]string // runtime folder in the guest, by vault
}

// Machine is the VM; nil for `guest: local`.
func (c *Chain) Machine() *Machine { return c.machine }

// needMachine is for the targets that are about the VM itself.
func (c *Chain) needMachine() (*Machine, error) {
	if c.machine == nil {
		return nil, proto.Errorf(proto.Config, "there is no VM: `guest: local` is this machine itself").
			WithHint("for a VM set `guest: lima` in %s", c.Config.File)
	}
	return c.machine, nil
}

// at is the VM as far as it needs no limactl: looking at it, and ssh.
func (m *Machine) at() (lima.Instance, error) {
	home, err := lima.DefaultHome()
	if err != nil {
		return lima.Instance{}, err
	}
	name := m.chain.Config.VM.Name
	return lima.Instance{Home: home, Name: name, Owner: m.chain.Config.File}, lima.CheckHome(home, name)
}

// Instance is the VM with the limactl that drives it, which is built if there is
// none and it can be.
func (m *Machine) Instance(ctx context.Context) (lima.Instance, error) {
	i, err := m.at()
	if err != nil {
		return i, err
	}
	i.Tool, err = m.tool(ctx)
	return i, err
}

func (m *Machine) tool(ctx context.Context) (lima.Tool, error) {
	if os.Geteuid() == 0 {
		return lima.Tool{}, proto.Errorf(proto.Prerequisite, "limactl, which runs the VM, refuses to run as root").
			WithHint("run this as an ordinary user, without sudo; or use `guest: local` on Linux")
	}
	if prefix := m.chain.Config.VM.Tools; prefix != "" {
		return lima.ToolIn(ctx, prefix)
	}
	t, err := lima.Find(ctx)
	if err == nil || lima.Installed() {
		return t, err // a version that does not fit is not passed over in silence
	}
	if runtime.GOOS == "darwin" {
		if !passphrase.IsTerminal() {
			return t, err
		}
		if yes, aerr := passphrase.Confirm(ctx, "limactl, which runs the VM, is not installed. Run `brew install lima` now?"); aerr != nil || !yes {
			return t, err
		}
		if err := proc.Run(ctx, proc.Cmd{Argv: []string{"brew", "install", "lima"}, Stdout: os.Stderr, Stderr: os.Stderr}); err != nil {
			return t, proto.Errorf(proto.Prerequisite, "brew install lima: %w", err)
		}
		return lima.Find(ctx)
	}
	cache := filepath.Join(xdg.CacheHome, "fuseless", "lima")
	src, serr := guestbin.Source()
	if serr != nil {
		// An installed fuseless uses what a checkout has built.
		if t, ok := lima.Built(ctx, cache); ok {
			return t, nil
		}
		return t, err
	}
	say("limactl is not installed: building it and its guest agent from the pinned module, once; this takes a few minutes")
	return lima.Build(ctx, src, cache)
}

// packedGuest is replaced in tests: packing takes long under the race detector.
var packedGuest = guestbin.Packed

// say tells what concerns the VM and no vault.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "vm: "+format+"\n", args...) }

// Render is the lima.yaml of the VM.
func (m *Machine) Render(ctx context.Context) ([]byte, error) {
	return m.render(ctx, func(string) bool { return true })
}

// render is Render with those sources for which with is true.
func (m *Machine) render(ctx context.Context, with func(source string) bool) ([]byte, error) {
	c := m.chain.Config
	packed, err := packedGuest(ctx, runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	home, _ := os.UserHomeDir()
	vm := templates.VM{
		HostOS: runtime.GOOS, Arch: runtime.GOARCH, Home: home,
		CPUs: c.VM.CPUs, MemoryMiB: c.VM.MemoryMiB, DiskGiB: c.VM.DiskGiB, RestoreDir: c.VM.RestoreDir, Guest: packed,
	}
	if c.VM.Image.Location != "" {
		vm.Images = []templates.Image{c.VM.Image}
	}
	for _, v := range c.Vaults {
		vm.Ports = append(vm.Ports, v.Port)
		if v.HasSource() && with(v.Source) {
			vm.Sources = append(vm.Sources, v.Source)
		}
	}
	yaml, err := templates.Render(vm)
	if err != nil {
		return nil, err
	}
	i, err := m.at()
	if err != nil {
		return nil, err
	}
	return yaml, lima.Validate(yaml, filepath.Join(i.Dir(), "lima.yaml"))
}

// rendering is what the VM shall be now. Lima makes the folders that it is to
// mount, so a source that is missing, as on a disk that is not attached, is
// left out; but a VM that runs with it is left as it is.
func (m *Machine) rendering(ctx context.Context, i lima.Instance) ([]byte, error) {
	yaml, err := m.Render(ctx)
	if err != nil || i.Plan(yaml) == lima.Nothing {
		return yaml, err
	}
	var missing []string
	with := func(source string) bool {
		_, err := os.Stat(source)
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, source)
			return false
		}
		return true
	}
	if yaml, err = m.render(ctx, with); err != nil {
		return nil, err
	}
	for _, source := range missing {
		say("warning: the source %s is missing; the VM goes without it until `fuseless up` finds it", source)
	}
	return yaml, nil
}

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
			if err := m.notAtWork(); err != nil {
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

// notAtWork says whether another process is at work in the VM, which a restart
// would break.
func (m *Machine) notAtWork() error {
	for _, v := range m.chain.Config.Vaults {
		st, err := state.Open(m.chain.instance, v.Name)
		if err != nil {
			return err
		}
		if holder := st.Other(); holder != "" {
			return proto.Errorf(proto.Busy, "the VM must be restarted, and %s is at work on the vault %s", holder, v.Name).
				WithHint("wait until it has ended")
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

// doIfRunning sends a request that has nothing to do where the VM does not run.
func (m *Machine) doIfRunning(ctx context.Context, req proto.Request, on func(proto.Event)) error {
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
	dir := strings.TrimSpace(string(out))
	if err == nil && !filepath.IsAbs(dir) {
		err = fmt.Errorf("it names %q", dir)
	}
	if err != nil {
		return "", proto.Errorf(proto.Guest, "cannot make the runtime folder in the VM: %w: %s", err, proc.Stderr(err)).
			WithHint("`fuseless logs` shows what the VM says")
	}
	m.dirs[vault] = dir
	return dir, nil
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

func (m *Machine) unforward(ctx context.Context, inGuest, socket string) {
	if i, err := m.at(); err == nil {
		if err := i.Unforward(ctx, inGuest, socket); err != nil {
			say("warning: %v", err)
		}
	}
}
