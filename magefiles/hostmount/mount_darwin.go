package hostmount

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"fuseless/guest/proc"
)

var system = macSystem{run: runWithFiles, mounted: Mounted}

func mount(ctx context.Context, spec Spec) error {
	return system.mount(ctx, spec)
}

func unmount(ctx context.Context, spec Spec, mounted bool) (lost, error) {
	warning, err := system.unmount(ctx, spec, mounted)
	return lost{other: warning}, err
}

// runWithFiles is proc.Run for a program that inherits open files, which
// proc.Cmd has no field for.
func runWithFiles(ctx context.Context, argv []string, files ...*os.File) error {
	var stderr bytes.Buffer
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Env, c.Stderr, c.ExtraFiles = proc.Environ(), &stderr, files
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	c.WaitDelay = 5 * time.Second
	err := c.Run()
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	e := &proc.ExitError{Name: filepath.Base(argv[0]), Code: -1, Stderr: stderr.String(), Err: err}
	var x *exec.ExitError
	if errors.As(err, &x) {
		e.Code = x.ExitCode()
	}
	return e
}
