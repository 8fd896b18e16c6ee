package chain

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"

	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/bridge"
	"fuseless/magefiles/hostmount"
	"fuseless/magefiles/state"
)

// StatusSchema is the version of the document that `status -json` prints. It
// grows when a field changes its meaning or goes away.
const StatusSchema = 1

// StatusDocument is what `status -json` prints.
type StatusDocument struct {
	Schema int           `json:"schema"`
	Config string        `json:"config"`       // path of the configuration file
	VM     *VMStatus     `json:"vm,omitempty"` // with `guest: lima`
	Vaults []VaultStatus `json:"vaults"`
}

// VMStatus is the state of the VM.
type VMStatus struct {
	Name  string     `json:"name"`
	State lima.State `json:"state"`
}

// VaultStatus is the state of one vault.
type VaultStatus struct {
	Name        string              `json:"name"`
	Source      string              `json:"source,omitempty"`
	Destination string              `json:"destination"`
	Writable    bool                `json:"writable,omitempty"` // files are written into the vault itself
	Mountpoint  string              `json:"mountpoint"`
	Remote      *proto.MountStatus  `json:"remote,omitempty"` // the vault's mount in the guest
	View        *proto.MountStatus  `json:"view,omitempty"`   // the decrypted mount in the guest
	Server      *proto.ServerStatus `json:"server,omitempty"` // the WebDAV server
	Bridge      int                 `json:"bridgePid,omitempty"`
	HostMount   string              `json:"hostMount,omitempty"` // what is mounted on the mountpoint
	Strays      []string            `json:"strays,omitempty"`    // what a killed run left; the next run takes it down
	LastBackup  *state.Last         `json:"lastBackup,omitempty"`
	AgeSeconds  *int64              `json:"ageSeconds,omitempty"` // since the last successful backup
	Error       string              `json:"error,omitempty"`
}

// Status prints what is mounted and served, and how the last backup went.
func (c *Chain) Status(ctx context.Context, asJSON bool) error {
	doc := StatusDocument{Schema: StatusSchema, Config: c.Config.File, VM: c.vmStatus()}
	err := c.each(ctx, func(v *vault) error {
		s, err := v.vaultStatus(ctx)
		doc.Vaults = append(doc.Vaults, s)
		return err
	})
	if doc.VM != nil && c.machine.isHung() {
		doc.VM.State = lima.Hung
	}
	if asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		if jerr := enc.Encode(doc); err == nil {
			err = jerr
		}
		return err
	}
	if doc.VM != nil {
		fmt.Printf("VM %s: %s\n", doc.VM.Name, doc.VM.State)
	}
	for _, s := range doc.Vaults {
		printStatus(os.Stdout, s)
	}
	return err
}

func (c *Chain) vmStatus() *VMStatus {
	if c.machine == nil {
		return nil
	}
	i, err := c.machine.at()
	if err != nil {
		return nil // asking the guest gives the same error
	}
	return &VMStatus{Name: i.Name, State: i.Quick()}
}

// status asks the guest.
func (v *vault) status(ctx context.Context) (*proto.Status, error) {
	var s *proto.Status
	if err := v.do(ctx, v.request(proto.OpStatus), func(e proto.Event) {
		if e.Status != nil {
			s = e.Status
		}
	}); err != nil {
		return nil, err
	}
	if s == nil {
		return nil, proto.Errorf(proto.Internal, "the guest reports no status")
	}
	return s, nil
}

func (v *vault) vaultStatus(ctx context.Context) (VaultStatus, error) {
	s := VaultStatus{Name: v.Name, Source: v.Source, Writable: v.Writable, Destination: v.Destination.String(), Mountpoint: v.Mountpoint}
	if last := v.state.Last(); last != nil {
		last.Config = nil // it is of no use to a reader
		s.LastBackup = last
		if !last.Success.IsZero() {
			age := int64(time.Since(last.Success).Seconds())
			s.AgeSeconds = &age
		}
	}
	if socket, err := v.socket(); err == nil {
		s.Bridge, _ = bridge.Running(socket)
	}
	if source, ok, err := hostmount.Mounted(v.Mountpoint); err == nil && ok {
		s.HostMount = source
	}
	g, err := v.status(ctx)
	if err != nil {
		s.Error = message(err)
		return s, err
	}
	s.Remote, s.View, s.Server, s.Strays = g.Remote, g.View, g.Server, g.Strays
	return s, nil
}

func printStatus(w io.Writer, s VaultStatus) {
	fmt.Fprintf(w, "%s  %s -> %s\n", s.Name, or(s.Source, noSource(s)), s.Destination)
	switch l := s.LastBackup; {
	case s.Writable: // nothing is backed up into it
	case l == nil:
		fmt.Fprintln(w, "  backup   never")
	case l.Code == proto.OK:
		fmt.Fprintf(w, "  backup   %s: ok\n", ago(l.Time))
	default:
		fmt.Fprintf(w, "  backup   %s: %s (%s)\n", ago(l.Time), l.Message, l.Code)
		if l.Success.IsZero() {
			fmt.Fprintln(w, "           it has never succeeded")
		} else {
			fmt.Fprintf(w, "           the last that succeeded was %s\n", ago(l.Success))
		}
	}
	for _, m := range []struct {
		name string
		m    *proto.MountStatus
	}{{"remote", s.Remote}, {"view", s.View}} {
		switch {
		case m.m == nil:
			fmt.Fprintf(w, "  %-8s not mounted\n", m.name)
		case m.m.Alive:
			how := ""
			if m.m.Writable {
				how = ", for reading and writing"
			}
			fmt.Fprintf(w, "  %-8s mounted on %s%s (pid %d)\n", m.name, m.m.Path, how, m.m.Pid)
		default:
			fmt.Fprintf(w, "  %-8s dead on %s; `fuseless open` mends it\n", m.name, m.m.Path)
		}
	}
	if s.Server != nil {
		fmt.Fprintf(w, "  server   http://%s/ (pid %d)\n", s.Server.Address, s.Server.Pid)
	} else {
		fmt.Fprintln(w, "  server   not running")
	}
	if s.HostMount != "" {
		fmt.Fprintf(w, "  host     %s mounted on %s\n", s.HostMount, s.Mountpoint)
	} else {
		fmt.Fprintf(w, "  host     not mounted (%s)\n", s.Mountpoint)
	}
	for _, p := range s.Strays {
		fmt.Fprintf(w, "  stray    %s; the next backup, or `fuseless down`, takes it down\n", p)
	}
}

func noSource(s VaultStatus) string {
	if s.Writable {
		return "(writable)"
	}
	return "(no source)"
}

func ago(t time.Time) string {
	if time.Since(t) < 2*time.Second {
		return "just now"
	}
	return humanize.Time(t)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
