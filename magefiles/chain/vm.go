package chain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/passphrase"
	"fuseless/templates"
)

// Render prints the description of the VM.
func (c *Chain) Render(ctx context.Context, out io.Writer) error {
	m, err := c.needMachine()
	if err != nil {
		return err
	}
	yaml, err := m.Render(ctx)
	if err != nil {
		return err
	}
	_, err = out.Write(yaml)
	return err
}

// stop stops the VM, if it runs.
func (m *Machine) stop(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready = false
	clear(m.dirs)
	i, err := m.at()
	if err != nil {
		return err
	}
	if s := i.Quick(); s == lima.Absent || s == lima.Stopped {
		return nil
	}
	if err := m.notAtWork(true); err != nil {
		return err
	}
	done, err := i.Alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	if i.Tool, err = m.tool(ctx); err != nil {
		return err
	}
	if m.hangs(ctx) {
		say("warning: %s does not answer; it is ended by force", i.Name)
		return i.Kill(ctx)
	}
	say("stopping %s", i.Name)
	return i.Stop(ctx)
}

// Destroy takes everything down and removes the VM with its disk.
func (c *Chain) Destroy(ctx context.Context, yes bool) error {
	m, err := c.needMachine()
	if err != nil {
		return err
	}
	i, err := m.at()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(i.Dir()); errors.Is(err, os.ErrNotExist) {
		say("there is no VM %s", i.Name)
		return nil
	}
	if !yes {
		if !passphrase.IsTerminal() {
			return proto.Errorf(proto.Terminal, "whether to remove the VM %s cannot be asked without a terminal", i.Name).WithHint("use -yes")
		}
		question := fmt.Sprintf("Remove the VM %s with its disk? Nothing of a vault, a source or a configuration is in it; `fuseless up` makes it anew, in some minutes.", i.Name)
		ok, err := passphrase.Confirm(ctx, question)
		if err != nil {
			return err
		}
		if !ok {
			say("%s is left as it is", i.Name)
			return nil
		}
	}
	if i.Tool, err = m.tool(ctx); err != nil {
		return err
	}
	// What hangs in the VM goes with it; what is on this machine must be said.
	go m.probe(ctx)
	derr := c.down(ctx, c.Config.Vaults, true)
	if derr != nil {
		say("warning: %v", derr) // now, whatever comes: it may name files that lie in memory
	}
	if err := m.notAtWork(true); err != nil {
		return err
	}
	done, err := i.Alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	if m.hangs(ctx) {
		say("warning: %s does not answer; it is ended by force", i.Name)
		if err := i.Kill(ctx); err != nil {
			return err
		}
	}
	if err := i.Delete(ctx); err != nil {
		return err
	}
	if proto.CodeOf(derr) == proto.Incomplete {
		return derr
	}
	return nil
}

// Shell is a shell in the guest. Without a terminal it reads its commands from
// standard input.
func (c *Chain) Shell(ctx context.Context) error {
	m, err := c.needMachine()
	if err != nil {
		return err
	}
	if _, err := m.guest(ctx); err != nil {
		return err
	}
	i, err := m.at()
	if err != nil {
		return err
	}
	argv := i.SSH("/bin/bash")
	if term.IsTerminal(int(os.Stdin.Fd())) {
		argv = i.Terminal()
	}
	// Not by proc: it belongs to the terminal.
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(proc.Environ(), "SSH_AUTH_SOCK=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return proto.Errorf(proto.Interrupted, "interrupted")
	case errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() != 255:
		return shellStatus(exit.ExitCode())
	}
	return proto.Errorf(proto.Guest, "the shell in the VM: %w", err)
}

// shellStatus is the exit status of a shell, and that of the target.
type shellStatus int

func (s shellStatus) Error() string   { return fmt.Sprintf("the shell ended with status %d", int(s)) }
func (s shellStatus) ExitStatus() int { return int(s) }

// Logs prints what the VM says: Lima's log on this machine, and the guest's of
// cloud-init where it can be had.
func (c *Chain) Logs(ctx context.Context, out io.Writer) error {
	m, err := c.needMachine()
	if err != nil {
		return err
	}
	i, err := m.at()
	if err != nil {
		return err
	}
	if i.Quick() == lima.Absent {
		return proto.Errorf(proto.Guest, "there is no VM %s, and so no log of it", i.Name).WithHint("`fuseless up` makes it")
	}
	for _, name := range []string{"ha.stderr.log", "serial.log", "serialv.log", "serialp.log"} {
		if err := printLog(out, filepath.Join(i.Dir(), name)); err != nil {
			return err
		}
	}
	if s := i.Quick(); s == lima.Stopped {
		fmt.Fprintf(out, "==> the VM is stopped; %s cannot be read\n", templates.LogFile)
		return nil
	}
	fmt.Fprintf(out, "==> %s in the guest\n", templates.LogFile)
	if err := i.Connect(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = proc.Run(ctx, proc.Cmd{Argv: i.SSH("sudo", "-n", "cat", templates.LogFile), Env: []string{"SSH_AUTH_SOCK="}, Stdout: out})
	if err != nil {
		return proto.Errorf(proto.Guest, "read the guest's log: %w", err)
	}
	return nil
}

// printLog prints a log file, if it is there. What could act on a terminal is
// left out.
func printLog(out io.Writer, file string) error {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintf(out, "==> %s\n", file)
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		if line := printable(sc.Text()); line != "" {
			fmt.Fprintln(out, line)
		}
	}
	return sc.Err()
}

func (m *Machine) logDir() string {
	i, err := m.at()
	if err != nil {
		return "its folder"
	}
	return i.Dir()
}
