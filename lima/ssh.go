package lima

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/kballard/go-shellquote"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// link is the name of the control socket of our own connection. Lima has one
// too, over which its sshfs mounts of the sources go: ending that one, when it
// hangs after a sleep, would take them down. The name ends in .sock, so limactl
// removes what is left of it.
const link = "fl.sock"

// patience is how long a short command in the guest may take.
const patience = 20 * time.Second

// SSH is the argv that runs argv in the guest, as it is, without a shell to be
// careful of: each word is quoted for the guest's. Standard input and output
// are the command's. It goes over the connection that Connect made; without
// one, it makes a connection for itself, which takes longer.
func (i Instance) SSH(argv ...string) []string {
	return i.sshArgv([]string{"-o", "ControlPath=" + i.file(link), "-o", "ControlMaster=no"}, argv...)
}

func (i Instance) sshArgv(options []string, argv ...string) []string {
	out := append([]string{"ssh", "-F", i.file("ssh.config"), "-T", "-o", "ForwardAgent=no"}, options...)
	out = append(out, "lima-"+i.Name, "--")
	if len(argv) > 0 {
		out = append(out, shellquote.Join(argv...))
	}
	return out
}

// control is the argv for an order to our connection, such as "check".
func (i Instance) control(order string, args ...string) []string {
	argv := []string{"ssh", "-F", i.file("ssh.config"), "-o", "ControlPath=" + i.file(link), "-O", order}
	return append(append(argv, args...), "lima-"+i.Name)
}

func (i Instance) ssh(ctx context.Context, argv []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return proc.Output(ctx, proc.Cmd{Argv: argv, Env: []string{"SSH_AUTH_SOCK="}})
}

// Link tells one shared connection from the next, by its socket; "" if there is
// none.
func (i Instance) Link() string {
	fi, err := os.Lstat(i.file(link))
	if err != nil {
		return ""
	}
	return fmt.Sprint(fi.Sys().(*syscall.Stat_t).Ino, fi.ModTime().UnixNano())
}

// Connected says whether the shared connection is there.
func (i Instance) Connected(ctx context.Context) bool {
	_, err := i.ssh(ctx, i.control("check"))
	return err == nil
}

// Connect makes the shared connection to the guest, unless it is there. It
// ends with the VM, or half a minute after the guest stopped answering.
func (i Instance) Connect(ctx context.Context) error {
	if _, err := i.ssh(ctx, i.control("check")); err == nil {
		return nil
	}
	unlock, err := i.lockLink(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return i.connect(ctx)
}

func (i Instance) connect(ctx context.Context) error {
	if _, err := i.ssh(ctx, i.control("check")); err == nil {
		return nil
	}
	// ssh does not replace the socket of a connection that was killed.
	if err := os.Remove(i.file(link)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return proto.Errorf(failed, "connect to the VM: %w", err)
	}
	// A file: a pipe would be kept open by what stays in the background.
	log, err := os.CreateTemp("", "fuseless-ssh-")
	if err != nil {
		return proto.Errorf(failed, "connect to the VM: %w", err)
	}
	defer os.Remove(log.Name())
	defer log.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// -f: it returns when the connection stands, and leaves it in the background.
	err = proc.Run(ctx, proc.Cmd{
		Argv: []string{"ssh", "-F", i.file("ssh.config"), "-f", "-N", "-T", "-o", "ControlMaster=yes", "-o", "ControlPath=" + i.file(link),
			"-o", "ControlPersist=no", "-o", "ForwardAgent=no", "-o", "ConnectTimeout=30", "-o", "ExitOnForwardFailure=no",
			"-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3", "lima-" + i.Name},
		Dir: "/", Env: []string{"SSH_AUTH_SOCK="}, Stdout: log, Stderr: log,
	})
	if err != nil {
		said, _ := os.ReadFile(log.Name())
		return proto.Errorf(failed, "connect to the VM: %w: %s", err, bytes.TrimSpace(said)).
			WithHint("is it running? start it again; the logs are in %s", i.Dir())
	}
	return nil
}

// disconnect ends the shared connection.
func (i Instance) disconnect(ctx context.Context) {
	if _, err := os.Lstat(i.file(link)); err == nil {
		_, _ = i.ssh(ctx, i.control("exit"))
		_ = os.Remove(i.file(link))
	}
}

// Answers says whether the guest runs a command within the limit. A shared connection
// that breaks counts as an answer, for whoever uses it is told so at
// once; a VM that hangs says nothing.
func (i Instance) Answers(ctx context.Context, limit time.Duration) bool {
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ask := func(argv []string) (ended <-chan error, kill func()) {
		c := make(chan error, 1)
		p, err := proc.Start(context.WithoutCancel(ctx), proc.Cmd{Argv: argv, Env: []string{"SSH_AUTH_SOCK="}})
		if err != nil {
			c <- nil
			return c, func() {}
		}
		go func() { c <- p.Wait() }()
		// Not SIGTERM, which it does not heed; and not waited for, since the shared
		// connection holds its output.
		return c, func() { _ = p.Process.Kill() }
	}
	shared, kill := ask(i.SSH("true"))
	defer kill()
	select {
	case <-shared:
		return true
	case <-wait.Done():
		return ctx.Err() != nil
	case <-time.After(limit / 4):
	}
	// The shared connection may be dead while the VM is well, as after a sleep; and a
	// VM that is busy may take its time for a new one. That a new one is refused says
	// nothing of the shared one, over which everything goes.
	own, kill := ask(i.sshArgv([]string{"-o", "ControlPath=none", "-o", "ControlMaster=no"}, "true"))
	defer kill()
	for {
		select {
		case <-shared:
			return true
		case err := <-own:
			if err == nil {
				return true
			}
			own = nil
		case <-wait.Done():
			return ctx.Err() != nil
		}
	}
}

// Terminal is the argv of a login shell in the guest on this terminal.
func (i Instance) Terminal() []string {
	return []string{"ssh", "-F", i.file("ssh.config"), "-t", "-o", "ForwardAgent=no", "-o", "ControlPath=" + i.file(link), "-o", "ControlMaster=no", "lima-" + i.Name}
}
