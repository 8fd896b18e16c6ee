package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"fuseless/guest/proto"
	"fuseless/guest/store"
	"fuseless/magefiles/bridge"
	"fuseless/magefiles/config"
)

// leastRsync is the version of the protocol that rsync 3.1 speaks. The oldest
// that understands --modify-window=-1 is 3.1.3.
const leastRsync = 31

// remote reports what p says about a vault's destination.
func (d *doctor) remote(v config.Vault, p *proto.RemoteProbe, way string) {
	c := Check{Group: Vault, Vault: v.Name, Name: "destination", Status: OK}
	sync := Check{Group: Vault, Vault: v.Name, Name: "remote rsync", Status: OK}
	room := Check{Group: Vault, Vault: v.Name, Name: "remote disk", Status: OK}
	if p.Error != nil {
		d.add(failure(c, p.Error))
		return
	}
	c.Text = v.Destination.String()
	if !v.Destination.Local {
		c.Text += ": reachable by sftp" + way
	}
	switch {
	case p.Vault:
		c.Text += "; it holds a vault"
	case p.Exists:
		c.Text += "; the folder is there, and no vault in it"
	case v.Writable:
		c.Text += "; there is no such folder yet: `fuseless init` makes it"
	default:
		c.Text += "; there is no such folder yet: the first backup makes it"
	}
	d.add(c)
	if !v.Destination.Local {
		switch {
		case p.RsyncError != nil:
			sync = failure(sync, p.RsyncError)
		case p.Rsync < leastRsync:
			sync.Status, sync.Code = TooOld, proto.Remote
			sync.Text = fmt.Sprintf("it speaks version %d of the protocol; %d is needed", p.Rsync, leastRsync)
			sync.Mend = "install rsync 3.1.3 or later there (macOS's own is another program)"
		default:
			sync.Text = fmt.Sprintf("speaks version %d of the protocol", p.Rsync)
		}
		d.add(sync)
	}
	switch {
	case p.Free < 0:
		room.Status, room.Text = Skipped, "the server does not tell how much is free"
	case p.Free < lowSpace:
		room.Status, room.Mend = Warning, "make room there; old runs in the vault's trash folder can go"
		fallthrough
	default:
		room.Text = humanize.IBytes(uint64(p.Free)) + " free"
	}
	d.add(room)
}

// probeFromHost looks at the remote without the guest. What the VM adds to the
// way is missing, and nothing else: the connection is the host's in any case.
func probeFromHost(ctx context.Context, r bridge.Remote, dest proto.Destination) *proto.RemoteProbe {
	fault := func(err error) *proto.RemoteProbe {
		return &proto.RemoteProbe{Error: proto.NewProbeError(proto.Internal, err)}
	}
	dir, err := os.MkdirTemp("", "fuseless-doctor-")
	if err != nil {
		return fault(err)
	}
	defer os.RemoveAll(dir)
	dest.Socket = filepath.Join(dir, "bridge.sock")
	l, err := bridge.Listen(dest.Socket)
	if err != nil {
		return fault(err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = bridge.Serve(ctx, l, r, nil)
	}()
	defer func() {
		cancel()
		<-done
	}()
	return store.Probe(ctx, dest)
}

// destination is the vault's, for the guest's package store.
func (d *doctor) destination(v config.Vault) (proto.Destination, bridge.Remote) {
	dest := proto.Destination{Label: v.Destination.String(), Path: v.Destination.Path, Local: v.Destination.Local}
	var r bridge.Remote
	if !dest.Local && d.Remote != nil {
		r = d.Remote(v)
		r.ReadOnly = true
		dest.Target, dest.SSH = r.Target, r.Command()
	}
	return dest, r
}
