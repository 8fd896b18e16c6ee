//go:build !linux

package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
)

// Supported says why New cannot work: network namespaces are Linux's.
func Supported() error {
	return fmt.Errorf("the link emulator needs Linux's network namespaces: %w", errors.ErrUnsupported)
}

// Lab is an emulated link; there is none here.
type Lab struct{}

// New fails with the error of Supported.
func New(context.Context, Link) (*Lab, error) { return nil, Supported() }

// Close does nothing here.
func (*Lab) Close() error { return nil }

// Cut does nothing here.
func (*Lab) Cut() {}

// Restore does nothing here.
func (*Lab) Restore() {}

// SetLink does nothing here.
func (*Lab) SetLink(Link) {}

// Sent is nothing here.
func (*Lab) Sent() Counters { return Counters{} }

// GuestAddr is empty here.
func (*Lab) GuestAddr() string { return "" }

// RemoteAddr is empty here.
func (*Lab) RemoteAddr() string { return "" }

// InGuest does nothing here.
func (*Lab) InGuest(*exec.Cmd) {}

// InRemote does nothing here.
func (*Lab) InRemote(*exec.Cmd) {}

// DialGuest fails.
func (*Lab) DialGuest(context.Context, string) (net.Conn, error) { return nil, Supported() }

// DialRemote fails.
func (*Lab) DialRemote(context.Context, string) (net.Conn, error) { return nil, Supported() }
