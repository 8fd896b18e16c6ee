package bench

import (
	"context"
	"fmt"
	"os"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/netlab"
	"fuseless/magefiles/prereq"
	"fuseless/magefiles/privilege"
)

const (
	farAlias = "far"            // the remote's name in the ssh configuration
	farPort  = 2222             //
	farWait  = 20 * time.Second // for sshd to listen
)

// far is a place's remote: OpenSSH's sshd behind an emulated link. It may be
// asked for anything, as borg wants itself there.
type far struct {
	lab    *netlab.Lab
	sshd   *metered
	config string // file for ssh -F
	counts *sftpCounts
}

// overLink sees to what a benchmark over a link needs, and compiles the task binary into
// the place if program is "".
func (p *place) overLink(ctx context.Context, program string) (string, error) {
	if err := netlab.Supported(); err != nil && os.Geteuid() != 0 {
		return "", proto.Errorf(proto.Prerequisite, "%w", err).WithHint("run it as root")
	}
	if program == "" {
		err := prereq.Ensure(ctx, append(prereq.LocalGuest(), prereq.Bench()...), os.Stderr)
		if err == nil {
			program, err = guestbin.Install(ctx, p.path("bin"))
		}
		if err != nil {
			return "", err
		}
	}
	if err := netlab.Supported(); err != nil {
		return "", proto.Errorf(proto.Prerequisite, "%w", err)
	}
	return program, nil
}

// connect gives the place a remote at the other end of link, and makes its
// commands run at this end. Close it.
func (p *place) connect(ctx context.Context, link netlab.Link) (*far, error) {
	lab, err := netlab.New(ctx, link)
	if err != nil {
		return nil, err
	}
	f := &far{lab: lab, config: p.path("sshd/config")}
	if err := f.start(ctx, p); err != nil {
		f.close()
		return nil, err
	}
	p.inside = lab.InGuest
	return f, nil
}

func (f *far) start(ctx context.Context, p *place) error {
	sshd, err := privilege.LookPath("sshd")
	if err != nil {
		return err
	}
	if err := p.mkdir("sshd"); err != nil {
		return err
	}
	file := func(name string) string { return p.path("sshd/" + name) }
	counter, err := p.under(counterName)
	if err != nil {
		return err
	}
	if _, err := sftpServer(); err != nil {
		return err
	}
	counts := p.path("sshd/counts")
	if f.counts, err = openCounts(counts); err != nil {
		return proto.Errorf(proto.NoSpace, "cannot make a file for the benchmark: %w", err)
	}
	for _, key := range []string{"host", "key"} {
		if err := proc.Run(ctx, proc.Cmd{Argv: []string{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file(key)}}); err != nil {
			return err
		}
	}
	hostKey, err := os.ReadFile(file("host.pub"))
	if err != nil {
		return err
	}
	// What runs there has a HOME that goes with the rest.
	for name, text := range map[string]string{
		"known_hosts": fmt.Sprintf("[%s]:%d %s", f.lab.RemoteAddr(), farPort, hostKey),
		"sshd_config": fmt.Sprintf(`ListenAddress %s
Port %d
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp %s %s
SetEnv HOME=%s
`, f.lab.RemoteAddr(), farPort, file("host"), file("key.pub"), counter, counts, p.path("remote")),
		"config": f.sshConfig(file("key"), file("known_hosts")),
	} {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	// The folder that root's sshd wants; it stays, as another sshd may be using it.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return err
	}
	// A meter's, because that leaves none of its sessions behind.
	f.sshd, err = start(job{Steps: []step{{Argv: []string{sshd, "-D", "-e", "-f", file("sshd_config")}}}}, p.meter, p.env(), f.lab.InRemote, nil)
	if err != nil {
		return err
	}
	for end := time.Now().Add(farWait); ; time.Sleep(20 * time.Millisecond) { // nothing tells when it listens
		c, err := f.lab.DialRemote(ctx, fmt.Sprintf("%s:%d", f.lab.RemoteAddr(), farPort))
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return proto.Errorf(proto.Internal, "the benchmark's sshd does not listen: %w", err)
		}
	}
}

// sshConfig is a configuration that reaches the remote with these files, and
// nothing of the user's own.
func (f *far) sshConfig(key, knownHosts string) string {
	return fmt.Sprintf(`Host %s
  HostName %s
  Port %d
  User root
  IdentityFile %s
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile %s
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
`, farAlias, f.lab.RemoteAddr(), farPort, key, knownHosts)
}

// close ends the remote and the link.
func (f *far) close() {
	if f.sshd != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, _ = f.sshd.wait(ctx)
	}
	_ = f.lab.Close()
}
