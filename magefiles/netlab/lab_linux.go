package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"

	"fuseless/guest/proc"
	"fuseless/magefiles/privilege"
)

// Lab is an emulated link with a namespace at each end.
type Lab struct {
	guest, remote namespace
	out, in       *pipe // guest to remote, remote to guest
	nsenter       string
	number        int
	close         sync.Once
	wg            sync.WaitGroup
}

// labs counts the labs of this process, for addresses that differ.
var labs atomic.Int64

// Supported says why New cannot work here, or nil.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("the link emulator makes network namespaces, which needs root")
	}
	for _, p := range []string{"ip", "nsenter"} {
		if _, err := privilege.LookPath(p); err != nil {
			return fmt.Errorf("the link emulator needs %s: %w", p, err)
		}
	}
	f, err := os.OpenFile(tunDevice, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("the link emulator needs the kernel's TUN driver: %w", err)
	}
	return f.Close()
}

// New makes a lab whose link is up. Close it.
func New(ctx context.Context, link Link) (_ *Lab, err error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	l := &Lab{number: 1 + int(labs.Add(1)-1)%250}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if l.nsenter, err = privilege.LookPath("nsenter"); err != nil {
		return nil, err
	}
	for _, end := range []struct {
		ns        *namespace
		name      string
		own, peer string
	}{{&l.guest, "lab0", l.GuestAddr(), l.RemoteAddr()}, {&l.remote, "lab1", l.RemoteAddr(), l.GuestAddr()}} {
		if err = end.ns.open(end.name); err != nil {
			return nil, err
		}
		if err = l.configure(ctx, end.ns, end.name, end.own, end.peer); err != nil {
			return nil, err
		}
	}
	l.out, l.in = newPipe(link, 1), newPipe(link, 2)
	l.carry(l.guest.tun, l.out, l.remote.tun)
	l.carry(l.remote.tun, l.in, l.guest.tun)
	return l, nil
}

// configure gives an end its addresses and its route.
func (l *Lab) configure(ctx context.Context, ns *namespace, device, own, peer string) error {
	ip, err := privilege.LookPath("ip")
	if err != nil {
		return err
	}
	// Without addresses of IPv6, nothing but what a test sends is counted. The
	// congestion control is cubic, because most remotes have it; a kernel's own
	// default may be another.
	script := fmt.Sprintf(`link set lo up
link set %[1]s addrgenmode none txqueuelen 10000
addr add %[2]s peer %[3]s dev %[1]s
link set %[1]s up
route replace %[3]s dev %[1]s src %[2]s congctl cubic
`, device, own, peer)
	argv := append(l.enter(ns), ip, "-batch", "-")
	if err := proc.Run(ctx, proc.Cmd{Argv: argv, Stdin: strings.NewReader(script)}); err != nil {
		return fmt.Errorf("set up %s: %w", device, err)
	}
	return nil
}

// carry starts to carry packets from one device to another.
func (l *Lab) carry(from *os.File, p *pipe, to *os.File) {
	l.wg.Go(func() { p.read(from) })
	l.wg.Go(func() { p.write(to) })
}

// Close ends the link. The namespaces are gone as soon as the last process in
// them has ended.
func (l *Lab) Close() error {
	l.close.Do(func() {
		for _, p := range []*pipe{l.out, l.in} {
			if p != nil {
				p.end()
			}
		}
		l.guest.shut()
		l.remote.shut()
		l.wg.Wait()
	})
	return nil
}

// Cut makes the link drop everything, each way, also what is on its way: as
// when a cable is pulled somewhere in the middle. Nobody is told.
func (l *Lab) Cut() {
	l.out.cut(true)
	l.in.cut(true)
}

// Restore ends a Cut.
func (l *Lab) Restore() {
	l.out.cut(false)
	l.in.cut(false)
}

// SetLink changes the link, for packets that enter it from now on.
func (l *Lab) SetLink(link Link) {
	l.out.set(link)
	l.in.set(link)
}

// Sent is what has arrived so far.
func (l *Lab) Sent() Counters {
	return Counters{ToRemote: l.out.arrived.Load(), ToGuest: l.in.arrived.Load()}
}

// GuestAddr is the guest's address.
func (l *Lab) GuestAddr() string { return fmt.Sprintf("10.201.%d.1", l.number) }

// RemoteAddr is the remote's address.
func (l *Lab) RemoteAddr() string { return fmt.Sprintf("10.201.%d.2", l.number) }

// InGuest changes cmd, which was not started yet, so that it runs in the
// guest's network: through nsenter, which replaces itself by the program. Of
// cmd's Credential, that leaves the ids and drops the groups.
func (l *Lab) InGuest(cmd *exec.Cmd) { l.inside(&l.guest, cmd) }

// InRemote is InGuest for the remote's network.
func (l *Lab) InRemote(cmd *exec.Cmd) { l.inside(&l.remote, cmd) }

func (l *Lab) inside(ns *namespace, cmd *exec.Cmd) {
	argv := l.enter(ns)
	if cmd.SysProcAttr != nil && cmd.SysProcAttr.Credential != nil {
		// Entering needs root, so the user is changed by nsenter, afterwards.
		as := cmd.SysProcAttr.Credential
		attr := *cmd.SysProcAttr
		attr.Credential = nil
		cmd.SysProcAttr = &attr
		argv = append(argv[:len(argv)-1], fmt.Sprintf("--setgid=%d", as.Gid), fmt.Sprintf("--setuid=%d", as.Uid), "--")
	}
	argv = append(argv, cmd.Path)
	if len(cmd.Args) > 1 {
		argv = append(argv, cmd.Args[1:]...)
	}
	cmd.Path, cmd.Args = l.nsenter, argv
}

// enter is the beginning of an argv that runs in ns. The path leads through
// this process: the namespace has no other name.
func (l *Lab) enter(ns *namespace) []string {
	return []string{l.nsenter, fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), ns.net.Fd()), "--"}
}

// DialGuest connects to a TCP address, "IP:PORT", in the guest's network, such
// as a server on its loopback.
func (l *Lab) DialGuest(ctx context.Context, addr string) (net.Conn, error) {
	return l.guest.dial(ctx, addr)
}

// DialRemote is DialGuest for the remote's network.
func (l *Lab) DialRemote(ctx context.Context, addr string) (net.Conn, error) {
	return l.remote.dial(ctx, addr)
}
