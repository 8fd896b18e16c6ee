package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fuseless/magefiles/e2e"
)

// vmReaders are the readers of `bench vm`.
var vmReaders = []string{ours, oursVM, sshCat}

const (
	vmVault = "bench"
	// vmPort is not the one of `guest: local`: Lima keeps a port for some seconds
	// after its server has gone.
	vmPort = 9844
	// Without KVM, a start takes minutes, and a mount half a minute.
	vmStartWait = 30 * time.Minute
	vmServeWait = 5 * time.Minute
)

// machineVM is a place's VM, which runs at this end of the link, as a user of its own.
type machineVM struct {
	user        *e2e.VM
	up          *running
	accelerator string // KVM or TCG
}

// startVM makes a user with a VM that reads the vault on f, and starts it. Close it.
func (p *place) startVM(ctx context.Context, f *far, program string) (err error) {
	user, err := e2e.NewVM(ctx, os.Stderr)
	if err != nil {
		return err
	}
	p.vm = &machineVM{user: user}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.vm.close())
		}
	}()
	if err := p.vm.configure(p, f, program); err != nil {
		return err
	}
	// The VM gets its packages here: where the link is there is nothing else. It is
	// then started there, so that what it reads comes over the link.
	outside := *p
	outside.inside = nil
	fmt.Fprintln(os.Stderr, "making a VM; it installs its packages, which takes minutes where there is no KVM")
	u, err := outside.run(ctx, nil, nil, os.Stderr, p.vm.steps([]string{"up"}, []string{"down"})...)
	if err != nil {
		return fmt.Errorf("make the VM: %w", err)
	}
	fmt.Fprintf(os.Stderr, "made after %s; it is started again, at this end of the link\n", seconds(u.Wall))
	runs := filepath.Join(p.mem, "vm-runs")
	steps := append(p.vm.steps([]string{"up"}),
		step{Argv: []string{"touch", runs}},
		step{Argv: []string{"sleep", "infinity"}},
		step{Argv: user.Fuseless("", "destroy", "-yes"), Dir: user.Home(), Always: true})
	if p.vm.up, err = p.hold(ctx, steps, false, vmStartWait, func() error {
		_, err := os.Stat(runs)
		return err
	}); err != nil {
		return fmt.Errorf("start the VM: %w", err)
	}
	p.vm.accelerator, err = user.Accelerator()
	return err
}

// configure gives the user the program, and the way to the vault.
func (v *machineVM) configure(p *place, f *far, program string) error {
	give := func(name, from string) (string, error) {
		b, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		return v.user.Give(name, b)
	}
	key, err := give("key", p.path("sshd/key"))
	if err != nil {
		return err
	}
	known, err := give("known_hosts", p.path("sshd/known_hosts"))
	if err != nil {
		return err
	}
	config, err := v.user.Give("ssh_config", []byte(f.sshConfig(key, known)))
	if err != nil {
		return err
	}
	secret, err := give("secret", p.secret())
	if err != nil {
		return err
	}
	if err := v.user.Install(program); err != nil {
		return err
	}
	return v.user.Configure(config, fmt.Sprintf("  %s:\n    destination: %q\n    port: %d\n    passphrase: {command: [cat, %q]}\n",
		vmVault, farAlias+":"+p.path("remote/vault"), vmPort, secret))
}

// steps are targets that are about the VM itself.
func (v *machineVM) steps(targets ...[]string) (steps []step) {
	for _, t := range targets {
		steps = append(steps, step{Argv: v.user.Fuseless("", t...), Dir: v.user.Home()})
	}
	return steps
}

// server is the vault's WebDAV server in the VM, which drops its caches first.
func (v *machineVM) server(p *place) server {
	served, home := filepath.Join(p.mem, "vm-serves"), v.user.Home()
	return server{
		name: oursVM, addr: fmt.Sprintf("127.0.0.1:%d", vmPort), wait: vmServeWait,
		steps: []step{
			{Argv: v.user.SSH("sudo sysctl -q vm.drop_caches=3"), Dir: home},
			{Argv: v.user.Fuseless(vmVault, "remoteMount", "serve"), Dir: home},
			{Argv: []string{"touch", served}},
			{Argv: []string{"sleep", "infinity"}},
			{Argv: []string{"rm", "-f", served}, Always: true},
			{Argv: v.user.Fuseless(vmVault, "down"), Dir: home, Always: true}, // leaves the VM running
		},
		// Lima may still listen for the server that was there before.
		credentials: func(ctx context.Context) (string, string, error) {
			if _, err := os.Stat(served); err != nil {
				return "", "", err
			}
			var said bytes.Buffer
			if _, err := p.run(ctx, nil, nil, &said, step{Argv: v.user.Session(vmVault), Dir: home}); err != nil {
				return "", "", err
			}
			return parseSession(said.Bytes())
		},
	}
}

// note is what the numbers do not tell.
func (v *machineVM) note() string {
	how := "by KVM"
	if v.accelerator != "KVM" {
		how = "by " + v.accelerator + ", not by KVM: QEMU translates its\n  instructions, which makes it some ten times slower"
	}
	return fmt.Sprintf(`%s is the same program with %s: Debian 12 with 2 processors and 1 GiB, run %s.
  It begins with dropped caches, too. ssh runs outside of it. The memory is what fuseless and ssh have there; QEMU's comes to it.`,
		oursVM, "`guest: lima`", how)
}

// shown are pairs for a strings.Replacer that leave of the user's commands what
// a person would type; v may be nil.
func (v *machineVM) shown() []string {
	if v == nil {
		return nil
	}
	target := v.user.Fuseless(vmVault)
	return []string{
		strings.Join(target, " "), "fuseless",
		strings.Join(v.user.Argv(), " ") + " ", "",
		v.user.Home(), "~",
	}
}

// close ends the VM, and removes it with the user.
func (v *machineVM) close() error {
	var err error
	if v.up != nil {
		_, err = v.up.close()
	}
	return errors.Join(err, v.user.Close(context.Background()))
}
