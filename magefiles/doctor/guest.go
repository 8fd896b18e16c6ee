package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/prereq"
)

// maxSkew is by how much the guest's clock may differ. By it the guest stamps
// the folders of the trash and decides which of them are old.
const maxSkew = 2 * time.Second

// guest looks at the guest itself. asked tells that it answers.
func (d *doctor) guest(ctx context.Context) (asked bool) {
	if len(d.Vaults) == 0 || ctx.Err() != nil {
		return false
	}
	c := Check{Group: Guest, Name: "VM", Status: OK}
	if d.local() {
		c.Name = "guest"
	} else if !d.running(ctx, c) {
		return false
	}
	before := d.system.now()
	p, err := d.ask(ctx, d.Vaults[0].Name, proto.ProbeOptions{})
	after := d.system.now()
	if err != nil {
		d.add(failed(c, err))
		return false
	}
	c.Text = "running"
	if d.local() {
		c.Text = "answers"
	}
	if p.Kernel != "" {
		c.Text += ", Linux " + p.Kernel
	}
	d.add(c)
	if !d.local() {
		d.add(skew(p.Clock, before, after))
	}
	d.add(d.fuse(p.Fuse))
	if !d.local() {
		d.add(guestRoom(p.Free))
		d.programs(ctx)
	}
	return true
}

// running tells whether the VM runs, and adds c if it does not.
func (d *doctor) running(ctx context.Context, c Check) bool {
	state, err := d.VM.State(ctx)
	if err != nil {
		d.add(failed(c, err))
		return false
	}
	switch state {
	case lima.Running:
		return d.current(ctx, c)
	case lima.Degraded:
		d.add(Check{Group: Guest, Name: "readiness", Status: Warning, Text: "something failed while the VM started",
			Mend: "`fuseless logs` says what; then `fuseless down` and `fuseless up`"})
		return d.current(ctx, c)
	case lima.Absent:
		c.Status, c.Text, c.Mend = Skipped, "there is none yet", "fuseless up"
	case lima.Stopped:
		c.Status, c.Text, c.Mend = Skipped, "it is not running", "fuseless up"
	case lima.Starting:
		c.Status, c.Text, c.Mend = Skipped, "it is starting", "wait, or see `fuseless logs`"
	default:
		c.Status, c.Code, c.Text, c.Mend = Failed, proto.Guest, "only a part of it runs", "`fuseless down`, then `fuseless up`"
	}
	d.add(c)
	return false
}

// current tells whether the VM is as configured, and adds c if it is not.
func (d *doctor) current(ctx context.Context, c Check) bool {
	if d.VM.Current == nil {
		return true
	}
	ok, err := d.VM.Current(ctx)
	switch {
	case err != nil:
		c = failed(c, err)
	case ok:
		return true
	default:
		c.Status, c.Text, c.Mend = Warning, "it runs, and is not yet as the configuration has it", "`fuseless up` restarts it, once `fuseless close` has taken the views down"
	}
	d.add(c)
	return false
}

// skew compares the guest's clock, read between before and after, with ours.
func skew(guest, before, after time.Time) Check {
	c := Check{Group: Guest, Name: "clock", Status: OK}
	// It is certain only that the guest's clock was read in between.
	least := time.Duration(0)
	switch {
	case guest.Before(before):
		least = guest.Sub(before)
	case guest.After(after):
		least = guest.Sub(after)
	}
	switch {
	case least.Abs() <= maxSkew:
		c.Text = "as that of this machine"
		if least != 0 {
			c.Text = fmt.Sprintf("differs by %s", least.Abs().Round(time.Millisecond))
		}
	case least < 0:
		c.Text = fmt.Sprintf("%s behind this machine's", least.Abs().Round(100*time.Millisecond))
	default:
		c.Text = fmt.Sprintf("%s ahead of this machine's", least.Round(100*time.Millisecond))
	}
	if least.Abs() > maxSkew {
		c.Status, c.Mend = Warning, "`fuseless down`, then `fuseless up`; Lima before 2.1 does not set it after this machine has slept"
	}
	return c
}

// fuse is the check of /dev/fuse; fault is why it cannot be used.
func (d *doctor) fuse(fault string) Check {
	c := Check{Group: Guest, Name: "fuse", Status: OK, Text: "/dev/fuse can be used"}
	if fault == "" {
		return c
	}
	if !d.local() {
		c.Mend = "echo 'sudo modprobe fuse' | fuseless shell"
	} else if err := prereq.CheckFuse(); err != nil {
		c = failed(c, err)
	} else {
		c.Mend = "sudo chmod 0666 /dev/fuse; in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"
	}
	c.Status, c.Code, c.Text = Failed, proto.Prerequisite, fault
	return c
}

func guestRoom(free int64) Check {
	c := Check{Group: Guest, Name: "disk", Status: OK, Text: humanize.IBytes(uint64(max(free, 0))) + " free"}
	switch {
	case free < 0:
		c.Status, c.Text = Skipped, "it does not tell how much is free"
	case free < lowSpace:
		c.Status, c.Mend = Warning, "see what fills it with `fuseless shell`, or give it more: `vm.disk` in fuseless.yaml, then `fuseless destroy` and `fuseless up` (no vault is lost)"
	}
	return c
}

// programs looks at the programs of the VM.
func (d *doctor) programs(ctx context.Context) {
	p, err := d.ask(ctx, d.Vaults[0].Name, proto.ProbeOptions{Programs: true})
	if err != nil {
		d.add(failed(Check{Group: Guest, Name: "programs"}, err))
		return
	}
	needs := map[string]prereq.Need{}
	for _, n := range prereq.LocalGuest() {
		needs[n.Program] = n
	}
	for _, g := range p.Programs {
		n, ok := needs[g.Name]
		if !ok {
			continue
		}
		s := prereq.Judge(n, g.Path, g.Output)
		c := d.needed(s)
		c.Group = Guest
		switch s.State {
		case prereq.Absent:
			c.Mend = fmt.Sprintf("echo 'sudo apt-get update && sudo apt-get install -y %s' | fuseless shell", n.Apt)
		case prereq.TooOld:
			c.Mend = "use a newer image in `vm.image`, or none: Debian 13's has it; then `fuseless destroy` and `fuseless up` (no vault is lost)"
		}
		d.add(c)
	}
}
