package guestbin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// CompileTask compiles the task binary, with the guest binaries embedded, from
// the checkout src to the file out.
func CompileTask(ctx context.Context, src, out string) error {
	tmp, err := os.MkdirTemp("", "fuseless-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	overlay, err := Overlay(ctx, src, tmp)
	if err != nil {
		return err
	}
	// mage resolves a relative path against magefiles/.
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	flags := strings.TrimSpace(os.Getenv("GOFLAGS") + " -trimpath -overlay=" + overlay)
	if strings.ContainsAny(overlay, " \t") {
		return proto.Errorf(proto.Config, "the temporary folder %s has a space in its name, which GOFLAGS cannot carry", tmp).
			WithHint("set TMPDIR to another folder")
	}
	err = proc.Run(ctx, proc.Cmd{
		Argv: []string{"go", "tool", "mage", "-compile", out, "-ldflags", "-s -w"},
		Dir:  src,
		Env:  []string{"GOFLAGS=" + flags, "CGO_ENABLED=0"},
	})
	if err != nil {
		return fmt.Errorf("compile fuseless: %w", err)
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
