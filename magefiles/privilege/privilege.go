// Package privilege finds programs, and lets one run as root: as it is when we
// are root, and through sudo without a prompt when we are not.
package privilege

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// systemDirs are searched after PATH. Debian gives ordinary users no sbin in
// PATH, and mount.davfs and sshd live there; on macOS, a target that was not
// started from a terminal lacks Homebrew's folders.
var systemDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin", "/opt/homebrew/bin", "/opt/homebrew/sbin"}

// euid is replaced in tests.
var euid = os.Geteuid

// LookPath is the absolute path of the program name, from PATH or from the
// system's folders. Its error is exec.ErrNotFound, wrapped. Relative entries of
// PATH are not followed: what is found may run as root.
func LookPath(name string) (string, error) {
	if filepath.IsAbs(name) {
		return exec.LookPath(name)
	}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), systemDirs...) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// AsRoot is argv as it must be run for root's rights: with the program's
// absolute path, and behind `sudo -n` for an ordinary user. sudo -n never asks;
// see Denied for when it refuses. The error is a *proto.Error with code
// Prerequisite where the program or sudo is missing.
func AsRoot(argv []string) ([]string, error) {
	path, err := LookPath(argv[0])
	if err != nil {
		return nil, proto.Errorf(proto.Prerequisite, "%s is not installed", argv[0])
	}
	out := append([]string{path}, argv[1:]...)
	if euid() == 0 {
		return out, nil
	}
	sudo, err := LookPath("sudo")
	if err != nil {
		return nil, proto.Errorf(proto.Prerequisite, "%s needs root, and sudo is not installed", argv[0])
	}
	return append([]string{sudo, "-n", "--"}, out...), nil
}

// Run runs cmd as root. The error is a *proto.Error with code Prerequisite
// where that is not possible without a password, and otherwise what proc.Run
// returns.
func Run(ctx context.Context, cmd proc.Cmd) error {
	_, err := Output(ctx, cmd)
	return err
}

// Output runs cmd as root, like Run, and returns its standard output, unless
// cmd has a place for it.
func Output(ctx context.Context, cmd proc.Cmd) ([]byte, error) {
	name := cmd.Argv[0]
	argv, err := AsRoot(cmd.Argv)
	if err != nil {
		return nil, err
	}
	cmd.Argv = argv
	var out strings.Builder
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	err = proc.Run(ctx, cmd)
	if Denied(err) {
		return nil, &proto.Error{Code: proto.Prerequisite, Message: fmt.Sprintf("%s needs root, and sudo asks for a password", filepath.Base(name)), Err: err}
	}
	return []byte(out.String()), err
}

// Check says whether commands can be run as root without a password. The error
// is a *proto.Error with code Prerequisite.
func Check(ctx context.Context) error {
	if euid() == 0 {
		return nil
	}
	return Run(ctx, proc.Cmd{Argv: []string{"true"}})
}

// Denied says whether err is sudo's refusal, not the failure of what it was to
// run. sudo exits with 1 in both cases (sudo(8), exit value), so its words
// decide; proc sets LC_ALL=C, which keeps them English.
func Denied(err error) bool {
	if err == nil || proc.ExitCode(err) != 1 {
		return false
	}
	for line := range strings.Lines(proc.Stderr(err)) {
		if !strings.HasPrefix(line, "sudo: ") && !strings.HasPrefix(line, "Sorry, user ") && !strings.Contains(line, "is not in the sudoers file") {
			continue
		}
		for _, s := range []string{"a password is required", "a terminal is required", "not allowed to execute", "may not run sudo",
			"not in the sudoers file", "must have a tty", "no new privileges", "must be owned by uid 0", "effective uid is not 0"} {
			if strings.Contains(line, s) {
				return true
			}
		}
	}
	return false
}
