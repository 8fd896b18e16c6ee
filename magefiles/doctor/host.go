package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"

	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/prereq"
)

// lowSpace is how many bytes free are so few that a warning is due.
const lowSpace = 1 << 30

// host looks at this machine.
func (d *doctor) host(ctx context.Context) {
	if d.Config != nil {
		d.report.Config = d.Config.File
		d.add(Check{Group: Host, Name: "configuration", Status: OK, Text: d.Config.File})
	} else if d.Fault != nil {
		d.add(failed(Check{Group: Host, Name: "configuration"}, d.Fault))
	}
	needs := prereq.LocalGuest()
	if !d.local() {
		needs = prereq.Host()
	}
	for _, s := range d.system.needs(ctx, needs) {
		d.add(d.needed(s))
	}
	d.mountClient(ctx)
	if !d.local() {
		d.lima(ctx)
	}
	d.space()
}

// needed is the check of a program on this machine.
func (d *doctor) needed(s prereq.Status) Check {
	c := Check{Group: Host, Name: s.Need.Name(), Version: s.Version, Text: s.Path}
	switch s.State {
	case prereq.Present:
		c.Status = OK
	case prereq.Unreadable:
		c.Status, c.Text = Warning, s.Path+" does not tell its version; "+s.Need.Min+" or later is needed"
	case prereq.TooOld:
		c.Status, c.Code, c.Text = TooOld, proto.Prerequisite, s.Need.Min+" or later is needed"
		c.Mend = d.system.mend([]prereq.Status{s})
	default:
		c.Status, c.Code, c.Text = Missing, proto.Prerequisite, "it "+s.Need.Why
		c.Mend = d.system.mend([]prereq.Status{s})
	}
	return c
}

// mountClient looks at what shows the view on this machine.
func (d *doctor) mountClient(ctx context.Context) {
	if d.system.goos == "darwin" {
		c := Check{Group: Host, Name: "mount_webdav", Status: OK, Text: "a part of macOS"}
		if _, ok := d.system.installed("/sbin/mount_webdav"); !ok {
			c.Status, c.Code, c.Text = Missing, proto.Prerequisite, "/sbin/mount_webdav, a part of macOS, is gone"
		}
		d.add(c)
		return
	}
	if _, ok := d.system.installed("mount.davfs"); !ok {
		return // that it is missing is said already
	}
	c := Check{Group: Host, Name: "root", Status: OK, Text: "davfs2 can be mounted without a question"}
	if err := d.system.root(ctx); err != nil {
		c.Status, c.Text = Warning, "mounting by davfs2 needs root, and sudo asks for a password"
		c.Mend = "allow sudo without a password for mount.davfs and umount; or browse the view with `gio mount`, which `fuseless hostMount` spells out"
	}
	d.add(c)
}

// lima looks at what runs the VM.
func (d *doctor) lima(ctx context.Context) {
	if d.system.euid == 0 {
		d.add(Check{Group: Host, Name: "user", Status: Failed, Code: proto.Prerequisite, Text: "limactl does not run as root",
			Mend: "run fuseless as an ordinary user, without sudo"})
	}
	d.limactl(ctx)
	if d.system.goos != "darwin" {
		c := Check{Group: Host, Name: "qemu", Status: OK}
		if err := d.system.needQEMU(); err != nil {
			c = failed(c, err)
			c.Status = Missing
		} else {
			c.Version = d.system.qemu(ctx)
		}
		d.add(c)
	}
	a := d.system.accelerate(ctx)
	c := Check{Group: Host, Name: "acceleration", Status: OK, Text: a.Why}
	if w := a.Warning(); w != "" {
		c.Status, c.Text = Warning, w
	}
	d.add(c)
	if d.Config == nil {
		return
	}
	if err := lima.CheckHome(d.VM.Home, d.Config.VM.Name); err != nil {
		d.add(failed(Check{Group: Host, Name: "VM's folder"}, err))
	}
}

// limactl looks for the one that `up` would use. On Linux `up` builds it where
// there is none, from the checkout that it is run in.
func (d *doctor) limactl(ctx context.Context) {
	c := Check{Group: Host, Name: "limactl", Status: OK}
	prefix := ""
	if d.Config != nil {
		prefix = d.Config.VM.Tools
	}
	tool, state, err := d.system.limactl(ctx, prefix)
	c.Version = tool.Version
	switch {
	case err == nil && state == built:
		c.Text = tool.Path + ", built by `fuseless up`"
	case err == nil && state == buildable:
		c.Text = "not installed: `fuseless up` builds it"
	case err == nil:
		c.Text = tool.Path
	case tool.Version != "" && oldLima(tool.Version):
		c = failed(c, err)
		c.Status, c.Text = TooOld, "1.1 or later is needed; "+tool.Path
	default:
		c = failed(c, err)
		if state == nowhere {
			c.Status = Missing
		}
	}
	d.add(c)
}

// oldLima tells a version that is refused for its age from one that is too new.
func oldLima(version string) bool {
	return strings.HasPrefix(version, "0.") || strings.HasPrefix(version, "1.0")
}

// space looks at the disks of this machine.
func (d *doctor) space() {
	folders, err := d.system.dirs()
	if err != nil {
		d.add(failed(Check{Group: Host, Name: "state folder"}, err))
	}
	for _, f := range folders {
		d.add(d.room(Check{Group: Host, Name: f.what}, f.path, lowSpace, ""))
	}
	if !d.local() && d.Config != nil {
		c := Check{Group: Host, Name: "VM's disk"}
		need := int64(d.Config.VM.DiskGiB)<<30 - allocated(filepath.Join(d.VM.Home, d.Config.VM.Name))
		d.add(d.room(c, d.VM.Home, max(need, lowSpace), fmt.Sprintf("; the VM's disk can grow to %d GiB", d.Config.VM.DiskGiB)))
	}
}

// room is the check that dir has at least need bytes.
func (d *doctor) room(c Check, dir string, need int64, why string) Check {
	free, known := d.system.free(dir)
	if !known {
		c.Status, c.Text = Skipped, dir+": its disk does not tell how much is free"
		return c
	}
	c.Status, c.Text = OK, humanize.IBytes(uint64(free))+" free in "+dir
	if free < need {
		c.Status, c.Mend = Warning, "make room there"
		c.Text += why
	}
	return c
}

// allocated is how many bytes the files in dir, the VM's, take up already.
func allocated(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil
		}
		if fi, err := e.Info(); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				bytes += st.Blocks * 512
			}
		}
		return nil
	})
	return bytes
}
