//go:build !linux

package e2e

import (
	"context"
	"io"

	"fuseless/guest/proto"
)

// Prepare does nothing where Run does nothing.
func Prepare(context.Context, io.Writer) error { return nil }

// Run needs Linux: the guest image is made from Debian's packages.
func Run(context.Context, io.Writer) error {
	return proto.Errorf(proto.Prerequisite, "e2e runs on Linux only: it makes a guest image from Debian's packages").
		WithHint("`fuseless up` and what follows are the same here, by hand")
}
