//go:build !linux

package e2e

import (
	"context"
	"io"

	"fuseless/guest/proto"
)

// VM is an ordinary user with a VM; there is none here.
type VM struct{}

// NewVM fails with the error of Run.
func NewVM(ctx context.Context, out io.Writer) (*VM, error) { return nil, Run(ctx, out) }

// Home is empty here.
func (*VM) Home() string { return "" }

// Give does nothing here.
func (*VM) Give(string, []byte) (string, error) { return "", nil }

// Install does nothing here.
func (*VM) Install(string) error { return nil }

// Configure does nothing here.
func (*VM) Configure(_, _ string) error { return nil }

// Argv is argv here.
func (*VM) Argv(argv ...string) []string { return argv }

// Fuseless is target here.
func (*VM) Fuseless(_ string, target ...string) []string { return target }

// SSH is nothing here.
func (*VM) SSH(string) []string { return nil }

// Session is nothing here.
func (*VM) Session(string) []string { return nil }

// Accelerator is none here.
func (*VM) Accelerator() (string, error) { return "", nil }

// Close does nothing here.
func (*VM) Close(context.Context) error { return nil }

// Prepare does nothing where Run does nothing.
func Prepare(context.Context, io.Writer) error { return nil }

// Run needs Linux: the guest image is made from Debian's packages.
func Run(context.Context, io.Writer) error {
	return proto.Errorf(proto.Prerequisite, "e2e runs on Linux only: it makes a guest image from Debian's packages").
		WithHint("`fuseless up` and what follows are the same here, by hand")
}
