// Package chain is what the targets do: it joins the configuration, the
// passphrase, the bridge to the remote, the guest, and the host's mount.
package chain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"fuseless/guest/proto"
	"fuseless/guest/rundir"
	"fuseless/magefiles/bridge"
	"fuseless/magefiles/config"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/guestrun"
	"fuseless/magefiles/passphrase"
	"fuseless/magefiles/prereq"
	"fuseless/magefiles/screen"
	"fuseless/magefiles/state"
)

// Chain acts on the vaults of one configuration.
type Chain struct {
	Config   *config.Config
	Verbose  bool
	instance string

	guestOnce sync.Once
	guest     *guestrun.Guest
	guestErr  error
	machine   *Machine // nil for `guest: local`

	mu      sync.Mutex
	secrets map[string]passphrase.Secret // asked for once in a call with several targets
}

var current struct {
	sync.Mutex
	chain *Chain
}

// Open reads the configuration. Several targets of one call share the result,
// so that a passphrase is asked for once.
func Open(verbose bool) (*Chain, error) {
	current.Lock()
	defer current.Unlock()
	if current.chain != nil {
		return current.chain, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	c, err := config.Load(os.Environ(), dir)
	if err != nil {
		return nil, err
	}
	current.chain = New(c, verbose)
	return current.chain, nil
}

// New makes a chain for a configuration.
func New(c *config.Config, verbose bool) *Chain {
	chain := &Chain{Config: c, Verbose: verbose, instance: rundir.Instance(c.File), secrets: map[string]passphrase.Secret{}}
	if c.Guest == config.Lima {
		chain.machine = &Machine{chain: chain, dirs: map[string]string{}, hung: make(chan struct{})}
	}
	return chain
}

// Give sets the passphrase of a vault, so that it is not asked for.
func (c *Chain) Give(vault string, s passphrase.Secret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[vault] = s
}

// LastResult is what the last backup of a vault did; nil if there was none.
func (c *Chain) LastResult(vault string) *proto.BackupResult {
	st, err := state.Open(c.instance, vault)
	if err != nil {
		return nil
	}
	if last := st.Last(); last != nil {
		return last.Result
	}
	return nil
}

// Forget removes the state folders of all vaults, which for a vault that is
// kept would be a loss: a copy of its configuration is in there.
func (c *Chain) Forget() error {
	for _, v := range c.Config.Vaults {
		dir, err := rundir.StateDir(c.instance, v.Name)
		if err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(dir)) // if it is empty
	}
	return nil
}

// vault is one vault in the hands of a target.
type vault struct {
	config.Vault
	*Chain
	state  state.Dir
	screen *screen.Screen
}

func (c *Chain) open(v config.Vault) (*vault, error) {
	st, err := state.Open(c.instance, v.Name)
	if err != nil {
		return nil, err
	}
	return &vault{Vault: v, Chain: c, state: st, screen: screen.New(v.Name, c.Verbose)}, nil
}

// one is the vault that a target without a name acts on.
func (c *Chain) one() (*vault, error) {
	v, err := c.Config.One("")
	if err != nil {
		return nil, err
	}
	return c.open(v)
}

// each does f for the vault named by FUSELESS_VAULT, or for all. One vault's
// failure does not keep the others from their turn; the first error counts.
func (c *Chain) each(ctx context.Context, f func(*vault) error) error {
	all, err := c.Config.Select("")
	if err != nil {
		return err
	}
	return c.eachOf(ctx, all, f)
}

func (c *Chain) eachOf(ctx context.Context, all []config.Vault, f func(*vault) error) error {
	var first error
	for _, cv := range all {
		v, err := c.open(cv)
		if err == nil {
			err = f(v)
			v.screen.Done()
		}
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		if first == nil {
			first = err
		} else {
			fmt.Fprintf(os.Stderr, "%s: %v\n", cv.Name, err)
		}
	}
	return first
}

// do sends a request to the guest and shows its events. on sees those that
// carry something to keep.
func (v *vault) do(ctx context.Context, req proto.Request, on func(proto.Event)) error {
	return v.Chain.do(ctx, req, func(e proto.Event) {
		v.screen.Event(e)
		if on != nil {
			on(e)
		}
	})
}

// do sends a request to the guest, wherever that is.
func (c *Chain) do(ctx context.Context, req proto.Request, on func(proto.Event)) error {
	if c.machine != nil {
		return c.machine.do(ctx, req, on)
	}
	g, err := c.theGuest(ctx)
	if err != nil {
		return err
	}
	return g.Do(ctx, req, on)
}

func (c *Chain) theGuest(ctx context.Context) (*guestrun.Guest, error) {
	c.guestOnce.Do(func() {
		var bin string
		if bin, c.guestErr = guestbin.Path(ctx); c.guestErr == nil {
			c.guest = guestrun.Local(bin)
		}
	})
	return c.guest, c.guestErr
}

// require says which programs are missing, all at once. A VM brings its own.
func (v *vault) require(programs ...string) error {
	if v.machine != nil {
		return prereq.Require("ssh")
	}
	if !v.Destination.Local {
		return prereq.Require(append(programs, "ssh")...)
	}
	return prereq.Require(programs...)
}

// request is what every request about this vault has in common.
func (v *vault) request(op proto.Op) proto.Request {
	d := v.Destination
	req := proto.Request{
		Op: op, Instance: v.instance, Vault: v.Name, Source: v.Source, Exclude: v.Exclude, Port: v.Port,
		Writable: v.Writable, RefuseMacNoise: v.RefuseMacNoise,
		Destination: proto.Destination{Label: d.String(), Path: d.Path, Local: d.Local, Trash: d.Path + ".trash"},
	}
	if !d.Local {
		req.Destination.Target = d.Target()
		req.Destination.SSH = v.remote(true).Command()
	}
	if v.machine != nil {
		v.machine.inGuest(v.Vault, &req)
	}
	return req
}

// remote is what the bridge may reach for this vault.
func (v *vault) remote(readOnly bool) bridge.Remote {
	d := v.Destination
	r := bridge.Remote{
		Target: d.Target(), Port: d.Port, Path: d.Path, SSHConfig: v.Config.SSHConfig, ReadOnly: readOnly,
		// As rsync's --backup-dir has it: relative to the vault.
		Trash: "../" + path.Base(d.Path) + ".trash",
	}
	if path.IsAbs(d.Path) {
		r.Trash = d.Path + ".trash"
	}
	return r
}

// bridge opens a bridge to the remote for as long as this target runs, and
// returns its socket as the guest sees it.
func (v *vault) bridge(ctx context.Context, readOnly bool) (inGuest string, stop func(), err error) {
	if v.Destination.Local {
		return "", v.tidy, nil
	}
	dir, err := rundir.Make(v.instance, v.Name)
	if err != nil {
		return "", nil, err
	}
	r := v.remote(readOnly)
	if err := r.Check(); err != nil {
		return "", nil, err
	}
	removeDead(dir)
	socket := filepath.Join(dir, fmt.Sprintf(bridgeSocket, os.Getpid()))
	if !readOnly { // a backup asks for several sessions, and holds one of them
		r.Mux = strings.TrimSuffix(socket, "sock") + "mux"
	}
	l, err := bridge.Listen(socket)
	if err != nil {
		return "", nil, err
	}
	// Not ctx: a cancelled guest still needs the remote to clean up.
	bctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = bridge.Serve(bctx, l, r, func(string, ...any) {})
	}()
	inGuest = socket
	stop = func() {
		if v.machine != nil && inGuest != socket {
			v.machine.unforward(context.WithoutCancel(ctx), inGuest, socket)
		}
		cancel()
		<-done
		_ = os.Remove(socket)
		v.tidy()
	}
	if v.machine != nil {
		if inGuest, err = v.machine.forward(ctx, v.Name, socket); err != nil {
			stop()
			return "", nil, err
		}
	}
	return inGuest, stop, nil
}

// bridgeSocket is the name of the socket of the process that its number names.
const bridgeSocket = "bridge-%d.sock"

// removeDead removes the sockets of killed processes.
func removeDead(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, "bridge-*.*")) // also those that ssh made beside it
	for _, f := range old {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(f), "bridge-%d.", &pid); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.Remove(f)
		}
	}
}

// tidy removes the vault's runtime folder if nothing of it is in use.
func (v *vault) tidy() {
	dir, err := rundir.Path(v.instance, v.Name)
	if err != nil {
		return
	}
	removeDead(dir)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "dial" {
		return
	}
	_ = os.Remove(filepath.Join(dir, "dial"))
	rundir.Remove(v.instance, v.Name)
}

// passphrase gets the vault's passphrase, once in a process.
func (v *vault) passphrase(ctx context.Context) (proto.Secret, error) {
	return v.secret(ctx, passphrase.Get)
}

// newPassphrase is asked for twice.
func (v *vault) newPassphrase(ctx context.Context) (proto.Secret, error) {
	return v.secret(ctx, passphrase.GetNew)
}

func (v *vault) secret(ctx context.Context, get func(context.Context, passphrase.Source, passphrase.Options) (passphrase.Secret, error)) (proto.Secret, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s, ok := v.secrets[v.Name]
	if !ok {
		src := v.Passphrase
		src.Vault = v.Name
		var err error
		if s, err = get(ctx, src, passphrase.Options{}); err != nil {
			return "", err
		}
		v.secrets[v.Name] = s
	}
	return proto.Secret(s.Reveal()), nil
}
