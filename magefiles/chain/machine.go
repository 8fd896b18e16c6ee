package chain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/adrg/xdg"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/passphrase"
	"fuseless/templates"
)

// Machine is the VM of `guest: lima`.
type Machine struct {
	chain *Chain

	mu    sync.Mutex
	ready bool              // it runs, as rendered, with our guest binary
	dirs  map[string]string // runtime folder in the guest, by vault

	hungOnce sync.Once
	hung     chan struct{} // closed when the VM was found not to answer
}

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

// tool is the limactl that drives the VM. It is built if there is none and it can
// be.
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
