package prereq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"

	"golang.org/x/term"
)

// goos is replaced in tests.
var goos = runtime.GOOS

// Ensure installs what is missing of needs, and nothing else, after saying what
// and why on out; it says nothing when nothing is missing. apt-get runs as
// root: directly, by sudo without a password, or by a sudo that asks on the
// terminal. It waits up to five minutes for another apt to finish.
//
// Its errors are *proto.Errors with code Prerequisite, and a hint with what to
// type, unless ctx ended.
func Ensure(ctx context.Context, needs []Need, out io.Writer) error {
	missing := Missing(ctx, needs)
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(missing) > 0 {
		if err := install(ctx, missing, out); err != nil {
			return err
		}
		if still := Missing(ctx, needs); len(still) > 0 {
			return proto.Errorf(proto.Prerequisite, "after installing, %s", list(still)).
				WithHint("install a newer version by hand, or use a newer system")
		}
	}
	for _, n := range needs {
		if n.Fuse && goos == "linux" {
			return openFuse(ctx, out)
		}
	}
	return nil
}

func install(ctx context.Context, missing []Status, out io.Writer) error {
	manager, packages := plan(missing)
	hint := hintFor(manager, packages)
	if manager != "apt-get" && manager != "brew" {
		return proto.Errorf(proto.Prerequisite, "%s", list(missing)).WithHint("%s", hint)
	}
	fmt.Fprintf(out, "installing with %s:\n", manager)
	for _, s := range missing {
		fmt.Fprintf(out, "  %s: %s (%s)\n", packageOf(manager, s.Need), s.Need.Why, s)
	}
	var err error
	if manager == "brew" {
		brew, lerr := privilege.LookPath("brew")
		if lerr != nil {
			return lerr
		}
		err = proc.Run(ctx, proc.Cmd{Argv: append([]string{brew, "install", "--quiet"}, packages...),
			Env: []string{"HOMEBREW_NO_AUTO_UPDATE=1", "NONINTERACTIVE=1"}})
	} else {
		// Outdated lists may do, and one broken source must not stop everything:
		// if it matters, the installation fails and says why.
		if uerr := asRoot(ctx, aptArgv("update"), out); ctx.Err() == nil && uerr != nil {
			fmt.Fprintf(out, "  apt-get update failed: %v\n", uerr)
		}
		err = asRoot(ctx, aptArgv("install", packages...), out)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return (&proto.Error{Code: proto.Prerequisite, Message: fmt.Sprintf("installing %s: %v", strings.Join(packages, " "), err), Err: err}).
			WithHint("%s", hint)
	}
	return nil
}

// aptArgv is apt-get without questions. Variables are given by env, because
// sudo drops them.
func aptArgv(command string, packages ...string) []string {
	argv := []string{"env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1",
		"apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", command}
	if command == "install" {
		argv = append(argv, "-y", "--no-install-recommends", "--")
	}
	return append(argv, packages...)
}

// asRoot runs argv as root. Where sudo wants a password and there is a
// terminal, sudo asks for it there.
func asRoot(ctx context.Context, argv []string, out io.Writer) error {
	if err := privilege.Check(ctx); err == nil {
		return privilege.Run(ctx, proc.Cmd{Argv: argv})
	} else if !term.IsTerminal(int(os.Stdin.Fd())) {
		return err
	}
	sudo, err := privilege.LookPath("sudo")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  sudo %s\n", strings.Join(argv, " "))
	// Not by proc, which starts a session of its own, without the terminal.
	var stderr bytes.Buffer
	c := exec.CommandContext(ctx, sudo, append([]string{"--"}, argv...)...)
	c.Env = proc.Environ()
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, io.Discard, io.MultiWriter(os.Stderr, &stderr)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	if err := c.Run(); err != nil {
		var x *exec.ExitError
		if errors.As(err, &x) {
			return &proc.ExitError{Name: "sudo", Code: x.ExitCode(), Stderr: stderr.String(), Err: err}
		}
		return err
	}
	return nil
}

// plan is the package manager of this machine, "" if it is unknown, and the
// packages to install with it, each once.
func plan(missing []Status) (manager string, packages []string) {
	managers := []string{"apt-get", "dnf", "pacman", "zypper", "apk"}
	if goos == "darwin" {
		managers = []string{"brew"}
	}
	for _, m := range managers {
		if _, err := privilege.LookPath(m); err == nil {
			manager = m
			break
		}
	}
	for _, s := range missing {
		p := packageOf(manager, s.Need)
		if p == "" { // not to be had there
			return "", append(packages, s.Need.Name())
		}
		if !slices.Contains(packages, p) {
			packages = append(packages, p)
		}
	}
	return manager, packages
}

func packageOf(manager string, n Need) string {
	switch {
	case manager == "brew":
		return n.Brew
	case manager == "dnf" && n.Dnf != "":
		return n.Dnf
	}
	return n.Apt
}

// Mend is what to type so that nothing of statuses is missing any more.
func Mend(statuses []Status) string {
	manager, packages := plan(statuses)
	return hintFor(manager, packages)
}

// hintFor is what to type, or which packages to look for.
func hintFor(manager string, packages []string) string {
	names := strings.Join(packages, " ")
	switch manager {
	case "apt-get":
		return "sudo apt-get update && sudo apt-get install --no-install-recommends " + names
	case "brew":
		return "brew install " + names
	case "dnf":
		return "sudo dnf install " + names
	case "pacman":
		return "sudo pacman -S " + names + " (Debian's names; yours may differ)"
	case "zypper":
		return "sudo zypper install " + names + " (Debian's names; yours may differ)"
	case "apk":
		return "sudo apk add " + names + " (Debian's names; yours may differ)"
	}
	if goos == "darwin" && len(packages) > 0 {
		return "install Homebrew from https://brew.sh, or these by hand: " + names
	}
	return "install these with your package manager (Debian's names): " + names
}

func list(statuses []Status) string {
	var s []string
	for _, st := range statuses {
		s = append(s, st.String())
	}
	return strings.Join(s, "; ")
}
