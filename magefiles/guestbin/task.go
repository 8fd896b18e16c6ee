package guestbin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// Task is a task binary to compile.
type Task struct {
	Out      string // the file; its base name is the program's name in the help
	OS, Arch string // Go's names of the platform; empty: this machine's
}

// CompileTask compiles the task binary, with the guest binaries embedded, from
// the checkout src to the file out.
func CompileTask(ctx context.Context, src, out string) error {
	return CompileTasks(ctx, src, Task{Out: out})
}

// CompileTasks compiles several task binaries, with the same guest binaries
// embedded, from the checkout src. The same source and Go version give the same
// bytes. One after the other: mage writes a file of its own into the checkout
// meanwhile.
func CompileTasks(ctx context.Context, src string, tasks ...Task) error {
	// Go sees the checkout at its real path, and an overlay for another would
	// silently replace nothing.
	src, err := filepath.EvalSymlinks(src)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "fuseless-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	overlay, err := Overlay(ctx, src, tmp)
	if err != nil {
		return err
	}
	if strings.ContainsAny(overlay, " \t") {
		return proto.Errorf(proto.Config, "the temporary folder %s has a space in its name, which GOFLAGS cannot carry", tmp).
			WithHint("set TMPDIR to another folder")
	}
	for _, t := range tasks {
		if err := t.compile(ctx, src, overlay); err != nil {
			return err
		}
	}
	return nil
}

func (t Task) compile(ctx context.Context, src, overlay string) error {
	// mage resolves a relative path against magefiles/.
	out, err := filepath.Abs(t.Out)
	if err != nil {
		return err
	}
	argv := []string{"go", "tool", "mage", "-compile", out, "-ldflags", "-s -w"}
	if t.OS != "" {
		argv = append(argv, "-goos", t.OS, "-goarch", t.Arch)
	}
	err = proc.Run(ctx, proc.Cmd{
		Argv: argv,
		Dir:  src,
		// mage itself runs here.
		Env: append(slices.Clone(sameEverywhere), "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH,
			"GOFLAGS=-trimpath -buildvcs=false -overlay="+overlay),
	})
	if err != nil {
		return fmt.Errorf("compile fuseless: %w", err)
	}
	return carried(overlay, out)
}

// sameEverywhere is the environment in which compiled bytes do not depend on
// the settings of whoever compiles, and run on every processor of the
// architecture.
var sameEverywhere = []string{"CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off"}

// carried fails unless the task binary file has everything embedded that the
// overlay was to put there: go says nothing about an entry that it does not use.
func carried(overlay, file string) error {
	b, err := os.ReadFile(overlay)
	if err != nil {
		return err
	}
	var o struct{ Replace map[string]string }
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	task, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, packed := range o.Replace {
		guest, err := os.ReadFile(packed)
		if err != nil {
			return err
		}
		if !bytes.Contains(task, guest) {
			return proto.Errorf(proto.Internal, "the compiled fuseless does not carry %s", filepath.Base(packed))
		}
	}
	return nil
}

// Install puts the task binary into dir and returns its path. In a checkout
// it is compiled; an installed one copies itself.
func Install(ctx context.Context, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", proto.Errorf(proto.Config, "cannot make %s: %w", dir, err).WithHint("choose another folder with -to=DIR")
	}
	out := filepath.Join(dir, "fuseless")
	if Embedded() {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		data, err := os.ReadFile(self)
		if err != nil {
			return "", err
		}
		if err := renameio.WriteFile(out, data, 0o755); err != nil {
			return "", installError(dir, err)
		}
		return out, nil
	}
	src, err := Source()
	if err != nil {
		return "", err
	}
	// Compiled beside it and renamed: a running one is not overwritten. Its name
	// is the final one, because mage puts that into the help.
	tmp, err := os.MkdirTemp(dir, ".fuseless-")
	if err != nil {
		return "", installError(dir, err)
	}
	defer os.RemoveAll(tmp)
	bin := filepath.Join(tmp, "fuseless")
	if err := CompileTask(ctx, src, bin); err != nil {
		return "", err
	}
	if err := os.Chmod(bin, 0o755); err != nil {
		return "", err
	}
	return out, os.Rename(bin, out)
}

func installError(dir string, err error) error {
	return proto.Errorf(proto.Config, "cannot write to %s: %w", dir, err).WithHint("choose a folder of yours with -to=DIR")
}

// DefaultDir is where fuseless is installed: $GOBIN, else /usr/local/bin for
// root and ~/.local/bin for everybody else.
func DefaultDir() (string, error) {
	if d := os.Getenv("GOBIN"); filepath.IsAbs(d) {
		return d, nil
	}
	if os.Getuid() == 0 {
		return "/usr/local/bin", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", proto.Errorf(proto.Config, "no home folder: %w", err).WithHint("give -to=DIR")
	}
	return filepath.Join(home, ".local", "bin"), nil
}
