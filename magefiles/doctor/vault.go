package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"fuseless/guest/proto"
	"fuseless/magefiles/config"
	"fuseless/magefiles/evicted"
	"fuseless/magefiles/passphrase"
	"fuseless/magefiles/screen"
)

// vault looks at one vault. asked tells that the guest answers.
func (d *doctor) vault(ctx context.Context, v config.Vault, asked bool) {
	hasFiles, readable := d.source(ctx, v)
	var p *proto.ProbeResult
	if asked {
		o := proto.ProbeOptions{Remote: true}
		if readable {
			o.Sources = []string{d.guestPath(v.Source)}
		}
		var err error
		if p, err = d.ask(ctx, v.Name, o); err != nil {
			d.add(failed(Check{Group: Vault, Vault: v.Name, Name: "guest"}, err))
		}
	}
	switch {
	case !readable: // nor can the guest
	case p != nil && len(p.Sources) == 1:
		d.add(d.sourceInGuest(v, p.Sources[0], hasFiles))
	case !asked:
		d.add(Check{Group: Vault, Vault: v.Name, Name: "read in guest", Status: Skipped, Text: "the guest cannot be asked"})
	}
	d.port(v, p)
	d.mountpoint(v)
	d.passphrase(v)
	switch {
	case p != nil && p.Remote != nil:
		way := ""
		if !d.local() {
			way = " from the VM"
		}
		d.remote(v, p.Remote, way)
	case !asked && (v.Destination.Local || d.Remote != nil):
		dest, r := d.destination(v)
		d.remote(v, d.system.remote(ctx, r, dest), "")
	}
}

// source looks at a source as this machine sees it. hasFiles tells that
// something is in it, readable that it can be listed.
func (d *doctor) source(ctx context.Context, v config.Vault) (hasFiles, readable bool) {
	c := Check{Group: Vault, Vault: v.Name, Name: "source", Status: OK, Text: v.Source}
	if !v.HasSource() {
		c.Status, c.Text = Skipped, "it has none: it can be mounted and restored, not backed up"
		if v.Writable {
			c.Text = "it has none: files are written into the vault itself"
		}
		d.add(c)
		return false, false
	}
	hasFiles, err := bounded(func() (bool, error) {
		f, err := os.Open(v.Source)
		if err != nil {
			return false, err
		}
		defer f.Close()
		names, err := f.Readdirnames(1)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return len(names) > 0, err
	})
	switch {
	case err != nil:
		c.Status, c.Code, c.Text = Failed, proto.Source, "cannot read it: "+err.Error()
		c.Mend = d.unreadable(errno(err), v.Source)
		d.add(c)
		return false, false
	case !hasFiles:
		c.Status, c.Text, c.Mend = Warning, v.Source+" is empty", "is its disk mounted?"
	}
	d.add(c)
	if d.system.lstat != nil {
		d.evicted(ctx, v)
	}
	return hasFiles, true
}

// evicted counts what a backup would have to download.
func (d *doctor) evicted(ctx context.Context, v config.Vault) {
	c := Check{Group: Vault, Vault: v.Name, Name: "iCloud", Status: OK, Text: "all contents are on this Mac"}
	f, err := evicted.Count(ctx, v.Source, v.Exclude, d.system.lstat)
	if err == nil {
		err = f.Err(v.Source)
	}
	if err != nil {
		c = failed(c, err)
	}
	d.add(c)
}

// errno is the name of the kernel's error in err, or "".
func errno(err error) string {
	var n unix.Errno
	if errors.As(err, &n) {
		return unix.ErrnoName(n)
	}
	return ""
}

// unreadable is what to do about a file, or folder, that cannot be read.
func (d *doctor) unreadable(errno, path string) string {
	switch {
	case d.system.goos == "darwin" && (errno == "EPERM" || errno == "EACCES"):
		return "System Settings > Privacy & Security > Files and Folders (or Full Disk Access): allow it for the terminal that fuseless is run in; then `fuseless down` and `fuseless up`"
	case errno == "EDEADLK":
		return evicted.Found{}.Mend(path)
	case errno == "ENOENT":
		return "is its disk mounted? else correct `source` in fuseless.yaml"
	}
	return "check that you may read it"
}

// sourceInGuest reports what came of reading a file of the source in the guest.
func (d *doctor) sourceInGuest(v config.Vault, s proto.SourceProbe, hasFiles bool) Check {
	c := Check{Group: Vault, Vault: v.Name, Name: "read in guest", Status: OK}
	name := func(p []byte) string {
		if len(p) == 0 || string(p) == "." {
			return "the folder itself"
		}
		return screen.Quote(p)
	}
	switch {
	case !d.local() && s.Mount == "":
		c.Status, c.Code, c.Text, c.Mend = Failed, proto.Guest, "the source is not mounted in the VM", "`fuseless down`, then `fuseless up`"
	case s.Error != nil && s.File == nil:
		c.Status, c.Code = Failed, s.Error.Code
		c.Text = fmt.Sprintf("no file can be read; %s: %s", name(s.Error.Path), because(s.Error))
		c.Mend = d.unreadable(s.Error.Errno, filepath.Join(v.Source, string(s.Error.Path)))
	case s.Error != nil:
		c.Status = Warning
		c.Text = fmt.Sprintf("%s was read; of what was looked at before, %d could not be read, first %s: %s",
			name(s.File), s.Failed, name(s.Error.Path), because(s.Error))
		c.Mend = d.unreadable(s.Error.Errno, filepath.Join(v.Source, string(s.Error.Path)))
	case s.File != nil:
		c.Text = name(s.File) + " was read"
		if s.Mount != "" && !d.local() {
			c.Text += ", through " + s.Mount
		}
	case s.Limit:
		c.Text = fmt.Sprintf("there is no file among the first %d entries", s.Entries)
	case s.Entries == 0 && hasFiles:
		c.Status, c.Code, c.Text = Failed, proto.Guest, "the guest sees an empty folder where this machine sees files"
		c.Mend = "`fuseless down`, then `fuseless up`"
	default:
		c.Text = "there is no file in it"
	}
	if c.Status == OK && !d.local() && !s.ReadOnly {
		c.Status, c.Mend = Warning, "`fuseless down`, then `fuseless up`"
		c.Text += "; the VM's mount of it is not read-only"
	}
	return c
}

func because(e *proto.ProbeError) string {
	if e.Errno == "" {
		return e.Text
	}
	return e.Text + " (" + e.Errno + ")"
}

// port looks whether the vault's port is free, or ours.
func (d *doctor) port(v config.Vault, p *proto.ProbeResult) {
	c := Check{Group: Vault, Vault: v.Name, Name: "port", Status: OK, Text: strconv.Itoa(v.Port) + " is free"}
	if p != nil && p.Server != nil {
		if _, port, err := net.SplitHostPort(p.Server.Address); err == nil && port == strconv.Itoa(v.Port) {
			c.Text = port + " is that of the running WebDAV server"
			d.add(c)
			return
		}
	}
	if err := d.system.listen(v.Port); err != nil {
		c.Status, c.Code, c.Text = Failed, proto.Serve, "another program has it: "+err.Error()
		c.Mend = "choose another `port` in fuseless.yaml, or stop that program"
		if errors.Is(err, unix.EACCES) {
			c.Text = err.Error()
		}
	}
	d.add(c)
}

// mountpoint looks whether the view can be mounted, without touching what is
// mounted there: behind a dead server that can hang.
func (d *doctor) mountpoint(v config.Vault) {
	c := Check{Group: Vault, Vault: v.Name, Name: "mountpoint", Status: OK, Text: v.Mountpoint}
	bad := func(text, mend string) {
		c.Status, c.Code, c.Text, c.Mend = Failed, proto.Mount, text, mend
	}
	source, mounted, err := d.system.mounted(v.Mountpoint)
	switch {
	case err != nil:
		c = failed(c, err)
	case mounted && strings.TrimSuffix(source, "/") == fmt.Sprintf("http://127.0.0.1:%d", v.Port):
		c.Text += ": the view is mounted there"
	case mounted:
		bad(screen.Quote([]byte(source))+" is mounted on "+v.Mountpoint, "unmount it, or set another `mountpoint`")
	default:
		if _, err := bounded(func() (bool, error) { return true, usable(v.Mountpoint) }); err != nil {
			bad(err.Error(), "move it away, or set another `mountpoint`")
		}
	}
	d.add(c)
}

// usable says why nothing can be mounted on dir. A folder that is missing is
// made when it is needed.
func usable(dir string) error {
	f, err := os.Open(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return creatable(filepath.Dir(dir))
	case err != nil:
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	if names, _ := f.Readdirnames(1); len(names) > 0 {
		return fmt.Errorf("%s is not empty, and a mount would hide what is in it", dir)
	}
	return nil
}

// creatable says why no folder can be made in dir, which need not exist either.
func creatable(dir string) error {
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
		return creatable(filepath.Dir(dir))
	case err != nil:
		return err
	case !fi.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	case unix.Access(dir, unix.W_OK|unix.X_OK) != nil:
		return fmt.Errorf("you may not make a folder in %s", dir)
	}
	return nil
}

// passphrase says where it comes from, without getting it.
func (d *doctor) passphrase(v config.Vault) {
	c := Check{Group: Vault, Vault: v.Name, Name: "passphrase", Status: OK}
	switch v.Passphrase.Kind {
	case passphrase.Keyring:
		c.Text = "from the keyring; it was not asked for"
	case passphrase.Command:
		program := v.Passphrase.Command[0]
		c.Text = "from the command " + program + "; it was not run"
		if _, err := exec.LookPath(program); err != nil {
			c.Status, c.Code, c.Text = Missing, proto.Passphrase, "its command "+program+" is not there"
			c.Mend = "install it, or correct `passphrase` in fuseless.yaml"
		}
	default:
		c.Text = "asked for on the terminal"
	}
	d.add(c)
}
