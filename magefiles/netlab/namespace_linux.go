package netlab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const tunDevice = "/dev/net/tun"

// namespace is a network namespace, and the TUN device in it.
type namespace struct {
	net *os.File
	tun *os.File
}

// onThread runs f on a thread of its own, which ends with it: its namespace is
// never seen by another goroutine.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

// open makes the namespace, with a device called name.
func (n *namespace) open(name string) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		var err error
		if n.net, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		// Not blocking, so that Close ends a Read.
		fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", tunDevice, err)
		}
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("make the device %s: %w", name, err)
		}
		n.tun = os.NewFile(uintptr(fd), name)
		return nil
	})
}

// shut ends the device, and lets the namespace go.
func (n *namespace) shut() {
	for _, f := range []*os.File{n.tun, n.net} {
		if f != nil {
			f.Close()
		}
	}
}

// enter runs f, which must not leave its goroutine, inside the namespace.
func (n *namespace) enter(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.net.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

func (n *namespace) dial(ctx context.Context, addr string) (conn net.Conn, err error) {
	// A socket belongs to the namespace in which it was made; to an address that
	// needs no looking up the dialer makes it on the calling thread.
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	err = n.enter(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", ap.String())
		return err
	})
	return conn, err
}
