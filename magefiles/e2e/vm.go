//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"fuseless/magefiles/prereq"
)

// VM is an ordinary user who has a configuration with a VM, for who measures
// through one: the user, the image and limactl are those of Run. It starts
// nothing: Argv is what is to be run, where it is to be run.
type VM struct{ r *run }

// The memory of such a VM, which is the default, in MiB.
const vmMemory = 1024

// NewVM makes the user, and the image and limactl if they are not in the cache;
// it says on out what takes long. Close it.
func NewVM(ctx context.Context, out io.Writer) (_ *VM, err error) {
	if err := prereq.Ensure(ctx, Needs(), out); err != nil {
		return nil, err
	}
	v, err := newVM(ctx, out)
	if err != nil {
		return nil, err
	}
	if v.r.image, v.r.tool, err = kept(ctx, v.r.cache, out); err != nil {
		_ = v.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return v, nil
}

// newVM makes what goes with Close.
func newVM(ctx context.Context, out io.Writer) (*VM, error) {
	v := &VM{&run{out: out}}
	err := v.r.makeFolders(ctx)
	if err == nil {
		v.r.bin = v.r.home(installed)
		err = v.r.user.own(v.r.user.home)
		v.r.baseline = map[string]bool{}
		for _, p := range v.r.user.owns(runtimeFolders, entries) {
			v.r.baseline[p] = true
		}
	}
	if err != nil {
		_ = v.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return v, nil
}

// Home is the user's home folder.
func (v *VM) Home() string { return v.r.user.home }

// Give gives the user a file that only the user reads, in memory, and returns its
// path.
func (v *VM) Give(name string, data []byte) (string, error) {
	path := filepath.Join(v.r.mem, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return "", err
	}
	return path, v.r.user.own(path)
}

// Install gives the user the task binary program.
func (v *VM) Install(program string) error {
	from, err := os.Open(program)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := os.MkdirAll(filepath.Dir(v.r.bin), 0o755); err != nil {
		return err
	}
	to, err := os.OpenFile(v.r.bin, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := to.Close(); err != nil {
		return err
	}
	return v.r.user.own(v.r.home(".local"))
}

// Configure writes the user's fuseless.yaml. sshConfig is a file that the user can
// read; vaults are the lines of that section.
func (v *VM) Configure(sshConfig, vaults string) error {
	if err := v.r.configureVM(sshConfig, vmMemory, vaults); err != nil {
		return err
	}
	return v.r.user.own(v.r.home(".config"))
}

// Argv is the command line that runs argv as the user. It is to be run in a folder
// that the user can enter, such as Home.
func (v *VM) Argv(argv ...string) []string { return v.r.user.argv(nil, argv...) }

// Fuseless is the command line of a target, on the vault, if that is not "".
func (v *VM) Fuseless(vault string, target ...string) []string {
	var env []string
	if vault != "" {
		env = []string{"FUSELESS_VAULT=" + vault}
	}
	return v.r.user.argv(env, append([]string{v.r.bin}, target...)...)
}

// SSH is the command line that runs a script in the VM, on a connection of its
// own, which leaves nothing behind.
func (v *VM) SSH(script string) []string {
	return v.Argv("ssh", "-F", v.r.instance("ssh.config"), "-T", "-o", "ControlPath=none", "-o", "ControlMaster=no", "lima-fuseless", "--", script)
}

// Session is the command line that prints the vault's proto.Session, while the
// VM serves it.
func (v *VM) Session(vault string) []string { return v.SSH(sessionOf(vault)) }

// Accelerator is what runs the VM, which must run: "KVM", or "TCG", which
// translates.
func (v *VM) Accelerator() (string, error) {
	pid, err := v.r.qemu()
	if err != nil {
		return "", err
	}
	return accelerator(commandLine(pid))
}

// accelerator is the one in the command line of QEMU.
func accelerator(command string) (string, error) {
	words := strings.FieldsFunc(command, func(r rune) bool { return r == ' ' || r == ',' || r == '=' })
	for i, w := range words {
		if i > 0 && (words[i-1] == "-accel" || words[i-1] == "accel") && (w == "kvm" || w == "tcg") {
			return strings.ToUpper(w), nil
		}
	}
	return "", different("QEMU is not told how to run its guest: %s", command)
}

// Close ends and removes everything: the VM, whatever the user runs or has
// mounted, and the user. An error says what could not be removed.
func (v *VM) Close(ctx context.Context) error {
	if err := v.r.cleanUp(ctx, true); err != nil {
		return fmt.Errorf("remove the user with the VM: %w", err)
	}
	return nil
}
