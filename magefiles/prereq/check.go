package prereq

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"

	"golang.org/x/sys/unix"
)

// versionDeadline is how long a program may take to print its version.
const versionDeadline = 10 * time.Second

// fuseDevice is replaced in tests.
var fuseDevice = "/dev/fuse"

// State is how a need is met.
type State int

const (
	Present State = iota
	Absent
	TooOld
	Unreadable // it is there, but its version cannot be made out
)

func (s State) String() string {
	return [...]string{"present", "missing", "too old", "of unknown version"}[s]
}

// Status is what was found for a Need.
type Status struct {
	Need    Need
	State   State
	Path    string // "" if Absent
	Version string // "" if there is none to ask for
}

func (s Status) String() string {
	switch s.State {
	case TooOld:
		return fmt.Sprintf("%s %s is too old, %s or later is needed", s.Need.Name(), s.Version, s.Need.Min)
	case Present:
		return fmt.Sprintf("%s %s", s.Need.Name(), s.Version)
	}
	return fmt.Sprintf("%s is %s", s.Need.Name(), s.State)
}

// Check looks for every need.
func Check(ctx context.Context, needs []Need) []Status {
	out := make([]Status, len(needs))
	for i, n := range needs {
		out[i] = check(ctx, n)
	}
	return out
}

// Missing is Check without what is Present.
func Missing(ctx context.Context, needs []Need) []Status {
	var out []Status
	for _, s := range Check(ctx, needs) {
		if s.State != Present {
			out = append(out, s)
		}
	}
	return out
}

func check(ctx context.Context, n Need) Status {
	s := Status{Need: n}
	if n.Program == "" {
		if _, err := os.Stat(n.File); err != nil {
			s.State = Absent
		} else {
			s.Path = n.File
		}
		return s
	}
	path, err := privilege.LookPath(n.Program)
	if err != nil {
		s.State = Absent
		return s
	}
	s.Path = path
	if n.Version == nil {
		return s
	}
	ctx, cancel := context.WithTimeout(ctx, versionDeadline)
	defer cancel()
	var out bytes.Buffer
	// Its status does not matter: some print their version as a part of an error.
	_ = proc.Run(ctx, proc.Cmd{Argv: append([]string{path}, n.VersionArgs...), Stdout: &out, Stderr: &out})
	return judge(s, out.String())
}

// judge reads the version in what the program printed.
func judge(s Status, output string) Status {
	n := s.Need
	s.Version = n.parseVersion(output)
	switch {
	case s.Version == "" && n.Min != "":
		s.State = Unreadable
	case n.Min != "" && older(s.Version, n.Min):
		s.State = TooOld
	}
	return s
}

// Judge is the Status of a program that was looked for in the guest: its path
// there, "" if it is missing, and what it printed when asked for its version.
func Judge(n Need, path, output string) Status {
	if path == "" {
		return Status{Need: n, State: Absent}
	}
	return judge(Status{Need: n, Path: path}, output)
}

// CheckFuse says whether the kernel offers FUSE; the error is a *proto.Error
// with code Prerequisite.
func CheckFuse() error {
	fi, err := os.Stat(fuseDevice)
	if err == nil && fi.Mode()&os.ModeCharDevice != 0 {
		return nil
	}
	return proto.Errorf(proto.Prerequisite, "there is no %s: the kernel's FUSE is not loaded", fuseDevice).
		WithHint("sudo modprobe fuse; in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN")
}

// openFuse is CheckFuse, and makes the device usable where only root may use
// it: udev gives it mode 0666 (50-udev-default.rules), but not every container
// and minimal system has udev.
func openFuse(ctx context.Context, out io.Writer) error {
	if err := CheckFuse(); err != nil {
		return err
	}
	if unix.Access(fuseDevice, unix.R_OK|unix.W_OK) == nil {
		return nil
	}
	fmt.Fprintf(out, "%s is for root only; giving it mode 0666, as udev does\n", fuseDevice)
	if err := privilege.Run(ctx, proc.Cmd{Argv: []string{"chmod", "0666", fuseDevice}}); err != nil {
		return proto.Errorf(proto.Prerequisite, "you may not use %s: %w", fuseDevice, err).
			WithHint("sudo chmod 0666 %s", fuseDevice)
	}
	return nil
}
