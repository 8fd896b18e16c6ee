package lima

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// listening says whether somebody in the guest listens on the socket $1, and
// the file is still there: a listener may have lost it. Field 4 of
// /proc/net/unix are flags, of which 0x10000 is a listener's (__SO_ACCEPTCON),
// and 8 is the path.
const listening = `test -S "$1" && awk -v p="$1" '$4 == "00010000" && $8 == p {found = 1} END {exit !found}' /proc/net/unix`

// Forward makes connections to guestSocket, a path in the guest, arrive at
// hostSocket, a path on the host, for as long as the shared connection lives;
// it makes that connection if need be. It is idempotent, and cheap if the
// forward is there: call it before each use, and it is mended after a sleep, a
// crash, or a restart of the VM. The folder of guestSocket must exist.
func (i Instance) Forward(ctx context.Context, guestSocket, hostSocket string) error {
	spec, err := forwardSpec(guestSocket, hostSocket)
	if err != nil {
		return err
	}
	unlock, err := i.lockLink(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for try := 0; ; try++ {
		err = i.forward(ctx, spec, guestSocket)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if try == 1 {
			return proto.Errorf(failed, "forward a socket into the VM: %w", err).
				WithHint("restart the VM: its sshd may refuse forwards, or its disk may be full")
		}
		// A connection that hangs is found out only by using it. One that works is
		// others', too, and stays.
		if _, terr := i.ssh(ctx, i.SSH("true")); terr == nil {
			return proto.Errorf(failed, "forward a socket into the VM: %w", err).
				WithHint("restart the VM with `fuseless down` and `fuseless up`: its sshd may refuse forwards, or the folder of the socket is gone")
		}
		i.disconnect(ctx)
	}
}

func (i Instance) forward(ctx context.Context, spec, guestSocket string) error {
	if err := i.connect(ctx); err != nil {
		return err
	}
	// For one that this connection has already, ssh says yes and does nothing.
	if _, err := i.ssh(ctx, i.control("forward", "-R", spec)); err == nil {
		if _, err := i.ssh(ctx, i.SSH("sh", "-c", listening, "sh", guestSocket)); err == nil {
			return nil
		}
	}
	// The file of an earlier connection's forward is in the way (sshd does not
	// remove it), or is lost.
	_, _ = i.ssh(ctx, i.control("cancel", "-R", spec))
	if _, err := i.ssh(ctx, i.SSH("rm", "-f", "--", guestSocket)); err != nil {
		return err
	}
	if _, err := i.ssh(ctx, i.control("forward", "-R", spec)); err != nil {
		return err
	}
	_, err := i.ssh(ctx, i.SSH("sh", "-c", listening, "sh", guestSocket))
	return err
}

// Unforward undoes Forward. Connections that stand are not cut.
func (i Instance) Unforward(ctx context.Context, guestSocket, hostSocket string) error {
	spec, err := forwardSpec(guestSocket, hostSocket)
	if err != nil {
		return err
	}
	unlock, err := i.lockLink(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := i.ssh(ctx, i.control("check")); err != nil {
		return nil // without a connection there is no forward
	}
	if _, err := i.ssh(ctx, i.control("cancel", "-R", spec)); err != nil && !strings.Contains(proc.Stderr(err), "port not forwarded") {
		return proto.Errorf(failed, "take back a forward into the VM: %w", err)
	}
	_, err = i.ssh(ctx, i.SSH("rm", "-f", "--", guestSocket))
	return err
}

// forwardSpec is the argument of ssh -R for two sockets.
func forwardSpec(guest, host string) (string, error) {
	for _, p := range []string{guest, host} {
		if !strings.HasPrefix(p, "/") || strings.ContainsAny(p, ": \t\n\\[]%$\"'") || len(p) > maxSocket {
			return "", proto.Errorf(proto.Internal, "%q cannot be forwarded as a socket", p)
		}
	}
	return guest + ":" + host, nil
}

// lockLink keeps two runs from making the connection at once.
func (i Instance) lockLink(ctx context.Context) (unlock func(), err error) {
	l := flock.New(filepath.Join(i.Dir(), "link.lock"))
	wait, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if _, err := l.TryLockContext(wait, 50*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			return nil, proto.Errorf(proto.Interrupted, "interrupted while another run connects to the VM")
		}
		return nil, proto.Errorf(proto.Busy, "another run connects to the VM %s: %w", i.Name, err)
	}
	return func() { _ = l.Unlock() }, nil
}
