//go:build linux

package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// socket is one that takes what comes from anywhere: a listening TCP socket, or
// a UDP socket without a peer.
type socket struct {
	proto string // as the file of /proc/net: tcp, tcp6, udp, udp6
	addr  netip.AddrPort
	uid   int
	inode string
}

func (s socket) String() string { return s.proto + " " + s.addr.String() }

// listeners are the sockets of a user.
func listeners(uid int) ([]socket, error) {
	var all []socket
	for _, proto := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile("/proc/net/" + proto)
		if os.IsNotExist(err) {
			continue // no IPv6
		} else if err != nil {
			return nil, err
		}
		found, err := parseSockets(proto, string(b))
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			if s.uid == uid {
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// parseSockets reads a table of /proc/net (proc_net(5)). In these, 0A is
// TCP_LISTEN and 07 is TCP_CLOSE, which a UDP socket without a peer has.
func parseSockets(proto, table string) ([]socket, error) {
	state := "0A"
	if strings.HasPrefix(proto, "udp") {
		state = "07"
	}
	var all []socket
	_, rows, _ := strings.Cut(table, "\n") // the first line is a heading
	for line := range strings.Lines(rows) {
		f := strings.Fields(line)
		if len(f) < 10 {
			return nil, fmt.Errorf("/proc/net/%s: unexpected line %q", proto, line)
		}
		if f[3] != state {
			continue
		}
		addr, err := parseAddr(f[1])
		if err != nil {
			return nil, fmt.Errorf("/proc/net/%s: %w", proto, err)
		}
		uid, err := strconv.Atoi(f[7])
		if err != nil {
			return nil, fmt.Errorf("/proc/net/%s: uid %q", proto, f[7])
		}
		all = append(all, socket{proto, addr, uid, f[9]})
	}
	return all, nil
}

// parseAddr reads an address as these tables have it: each 32 bits in the
// machine's order, which is little-endian wherever we run.
func parseAddr(text string) (netip.AddrPort, error) {
	ip, port, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(ip)
	n, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("address %q", text)
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	addr, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("address %q", text)
	}
	return netip.AddrPortFrom(addr, uint16(n)), nil
}

// guestServers is a program for the guest that listens on the ports of its
// arguments, TCP and UDP, on all addresses and on loopback, and says so.
const guestServers = `
import socket, sys, time
keep = []
for arg in sys.argv[1:]:
    proto, ip, port = arg.split(",")
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((ip, int(port)))
    if proto == "tcp":
        s.listen()
    keep.append(s)
print("ready", flush=True)
time.sleep(100000)
`

// onlyVaultPorts starts servers in the guest, waits until Lima has seen them,
// and looks at the host.
func (r *run) onlyVaultPorts(ctx context.Context) error {
	var servers []string
	for _, s := range []string{"tcp,0.0.0.0", "tcp,127.0.0.1", "tcp,::", "tcp,::1", "udp,0.0.0.0", "udp,127.0.0.1"} {
		port, err := freePort()
		if err != nil {
			return err
		}
		servers = append(servers, fmt.Sprintf("%s,%d", s, port))
	}
	_, err := r.shell(ctx, fmt.Sprintf(`
cat >/tmp/e2e-servers.py <<'END'
%s
END
sudo systemd-run --quiet --unit=e2e-servers -p StandardOutput=file:/run/e2e-servers python3 /tmp/e2e-servers.py %s </dev/null || exit
for i in $(seq 300); do grep -q ready /run/e2e-servers && exit 0; sleep 0.1; done
systemctl status e2e-servers
exit 1
`, guestServers, strings.Join(servers, " ")))
	if err != nil {
		return err
	}
	defer func() {
		_, _ = r.shell(context.WithoutCancel(ctx), "sudo systemctl stop e2e-servers; rm -f /tmp/e2e-servers.py; sudo rm -f /run/e2e-servers")
	}()
	if err := r.seenByLima(ctx, servers); err != nil {
		return err
	}
	expected, err := r.expectedSockets(ctx)
	if err != nil {
		return err
	}
	all, err := listeners(r.user.uid)
	if err != nil {
		return err
	}
	missing := maps.Clone(expected)
	for _, s := range all {
		if r.sockets[s.String()] {
			continue
		}
		what, ok := expected[s.String()]
		delete(missing, s.String())
		owner, ours := r.owner(s)
		if !ours && !r.user.made {
			continue // of another program that this user runs
		}
		if !ok && strings.HasPrefix(s.proto, "udp") && strings.Contains(owner, "qemu-system") {
			// QEMU's NAT for the guest's own datagrams; a forward for UDP would
			// be Lima's. onlyForward has looked at QEMU's own forwards.
			what, ok = "QEMU's NAT for what the guest sends", true
		}
		if !ok {
			return different("%s listens on the host, by %s; in the guest listen %q", s, owner, servers)
		}
		r.fact("on the host: %s: %s", s, what)
	}
	if len(missing) > 0 {
		return different("these do not listen on the host: %v", missing)
	}
	return r.onlyForward()
}

// seenByLima waits until the host agent has decided about each server: it logs
// that it forwards, or does not.
func (r *run) seenByLima(ctx context.Context, servers []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(r.instance("ha.stderr.log"))
		if err != nil {
			return err
		}
		var unseen []string
		for _, s := range servers {
			f := strings.Split(s, ",")
			port := f[len(f)-1]
			if !strings.Contains(string(b), "orwarding "+strings.ToUpper(f[0])+" ") || !strings.Contains(string(b), ":"+port) {
				unseen = append(unseen, s)
			}
		}
		if len(unseen) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return different("Lima does not see the servers in the guest: %q", unseen)
		case <-tick.C:
		}
	}
}

// expectedSockets are those of the vaults, and Lima's own: the guest's ssh, and
// the name server that the guest asks.
func (r *run) expectedSockets(ctx context.Context) (map[string]string, error) {
	want := map[string]string{fmt.Sprintf("tcp 127.0.0.1:%d", r.ports[mainVault]): "the WebDAV server of " + mainVault}
	b, err := os.ReadFile(r.instance("ssh.config"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "Port" {
			want["tcp 127.0.0.1:"+f[1]] = "Lima's ssh into the guest"
		}
	}
	env, err := r.shell(ctx, "sudo cat /mnt/lima-cidata/lima.env")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(env) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "LIMA_CIDATA_UDP_DNS_LOCAL_PORT":
			want["udp 127.0.0.1:"+value] = "Lima's name server for the guest"
		case "LIMA_CIDATA_TCP_DNS_LOCAL_PORT":
			want["tcp 127.0.0.1:"+value] = "Lima's name server for the guest"
		}
	}
	return want, nil
}

// onlyForward says whether QEMU itself forwards one port, to the guest's sshd.
func (r *run) onlyForward() error {
	b, err := os.ReadFile(r.instance("qemu.pid"))
	if err != nil {
		return err
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	command := commandLine(pid)
	if strings.Count(command, "hostfwd=") != 1 || !strings.Contains(command, "hostfwd=tcp:127.0.0.1:") {
		return different("QEMU forwards something else than its guest's ssh: %s", command)
	}
	return nil
}

// owner is the command line of the process that has s open, if it belongs to
// this run.
func (r *run) owner(s socket) (command string, ok bool) {
	for _, pid := range r.user.processes() {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			if target, err := os.Readlink(fd); err == nil && target == "socket:["+s.inode+"]" {
				return fmt.Sprintf("process %d: %s", pid, commandLine(pid)), true
			}
		}
	}
	return "an unknown process", false
}
