package config

import (
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/goccy/go-yaml/ast"

	"fuseless/templates"
)

// VM is the virtual machine of `guest: lima`.
type VM struct {
	Name       string // of the Lima instance, in a LIMA_HOME of our own
	CPUs       int
	MemoryMiB  int
	DiskGiB    int
	RestoreDir string          // absolute path; the only folder of the host that the guest may write to
	Image      templates.Image // Location empty: Debian's cloud image
	Tools      string          // absolute path of a folder with bin/limactl; empty: what is on PATH, or a build of our own
}

// Defaults of the VM. Lima's own are 4 CPUs, 4 GiB and 100 GiB.
const (
	vmName     = "fuseless"
	vmCPUs     = 2
	vmMemory   = 1024 // MiB
	vmDisk     = 10   // GiB
	restoreDir = "~/fuseless-restore"
)

// rawVM is the section `vm` as it was written.
type rawVM struct {
	name, restore, tools *setting[string]
	cpus, memory, disk   *setting[int]
	image                rawImage
}

type rawImage struct {
	location, digest, kernel, kernelDigest, cmdline, initrd, initrdDigest *setting[string]
}

func (d *decoder) vm(path string, n ast.Node, vm *rawVM) {
	text := func(to **setting[string]) func(string, ast.Node) {
		return func(path string, n ast.Node) { *to = d.text(path, n) }
	}
	number := func(to **setting[int]) func(string, ast.Node) {
		return func(path string, n ast.Node) { *to = d.number(path, n) }
	}
	d.mapping(path, n, map[string]func(string, ast.Node){
		"name":    text(&vm.name),
		"cpus":    number(&vm.cpus),
		"memory":  number(&vm.memory),
		"disk":    number(&vm.disk),
		"restore": text(&vm.restore),
		"tools":   text(&vm.tools),
		"image": func(path string, n ast.Node) {
			i := &vm.image
			d.mapping(path, n, map[string]func(string, ast.Node){
				"location": text(&i.location), "digest": text(&i.digest),
				"kernel": text(&i.kernel), "kernel_digest": text(&i.kernelDigest), "cmdline": text(&i.cmdline),
				"initrd": text(&i.initrd), "initrd_digest": text(&i.initrdDigest),
			})
		},
	})
}

// vm resolves the section; what is left out has its default.
func (r *resolver) vm(raw *rawVM) {
	v := &r.VM
	*v = VM{Name: vmName, CPUs: vmCPUs, MemoryMiB: vmMemory, DiskGiB: vmDisk}
	if s := raw.name; s != nil {
		v.Name, r.origins["vm.name"] = s.value, s.origin
	}
	for _, f := range []struct {
		to    *int
		field string
		s     *setting[int]
	}{{&v.CPUs, "vm.cpus", raw.cpus}, {&v.MemoryMiB, "vm.memory", raw.memory}, {&v.DiskGiB, "vm.disk", raw.disk}} {
		if f.s != nil {
			*f.to, r.origins[f.field] = f.s.value, f.s.origin
		}
	}
	if raw.restore != nil || r.home != "" {
		if raw.restore == nil {
			raw.restore = &setting[string]{value: restoreDir}
		}
		r.path(&v.RestoreDir, "vm.restore", raw.restore)
	}
	r.path(&v.Tools, "vm.tools", raw.tools)
	i := &raw.image
	for _, f := range []struct {
		to    *string
		field string
		s     *setting[string]
		path  bool
	}{
		{&v.Image.Location, "location", i.location, true}, {&v.Image.Digest, "digest", i.digest, false},
		{&v.Image.KernelLocation, "kernel", i.kernel, true}, {&v.Image.KernelDigest, "kernel_digest", i.kernelDigest, false},
		{&v.Image.Cmdline, "cmdline", i.cmdline, false},
		{&v.Image.InitrdLocation, "initrd", i.initrd, true}, {&v.Image.InitrdDigest, "initrd_digest", i.initrdDigest, false},
	} {
		field := "vm.image." + f.field
		switch {
		case f.s == nil:
		case f.path && !webURL.MatchString(f.s.value):
			r.path(f.to, field, f.s)
		default:
			*f.to, r.origins[field] = f.s.value, f.s.origin
		}
	}
}

var (
	webURL   = regexp.MustCompile(`^https?://`)
	instance = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`) // a host name, of which Lima makes lima-NAME
)

// vm checks the section, and what a VM cannot do, where there is one.
func (v *validator) vm(home string) {
	if v.Guest != Lima {
		return
	}
	add := func(field, format string, args ...any) { v.p.add("vm."+field, v.Origin("vm."+field), format, args...) }
	m := v.VM
	if !instance.MatchString(m.Name) {
		add("name", "%q cannot be the name of a VM: use a-z, 0-9 and -, and begin with a letter", m.Name)
	}
	for _, f := range []struct {
		field string
		value int
		least int
		unit  string
	}{{"cpus", m.CPUs, 1, ""}, {"memory", m.MemoryMiB, 512, " MiB"}, {"disk", m.DiskGiB, 4, " GiB"}} {
		if f.value < f.least {
			add(f.field, "%d%s is too little; %d%s is the least", f.value, f.unit, f.least, f.unit)
		}
	}
	if m.RestoreDir != "" && (v.same(m.RestoreDir, home) || home != "" && v.within(home, m.RestoreDir)) {
		add("restore", "%s is your home folder, or holds it: the guest may write to it, so give a folder below", m.RestoreDir)
	}
	if m.Image.Location == "" && m.Image != (templates.Image{}) {
		add("image", "has no location")
	}
	for i := range v.Vaults {
		a := &v.Vaults[i]
		if rel := v.relation(m.RestoreDir, a.Source); rel != "" {
			add("restore", "%s %s the source of %s, and the guest may write to it", m.RestoreDir, rel, a.Name)
		}
		if rel := v.relation(m.RestoreDir, a.Mountpoint); rel != "" {
			add("restore", "%s %s the mountpoint of %s", m.RestoreDir, rel, a.Name)
		}
		if a.Destination.Local {
			v.add(a, "destination", "is a folder of this machine, which the VM does not see; only destinations behind ssh work with `guest: lima`")
		}
	}
}

// effectiveVM prints the section, if it counts.
func (c *Config) effectiveVM(line func(indent int, field, key, value string)) {
	put := func(key, value string) { line(2, "vm."+key, key, value) }
	m := c.VM
	put("name", plain(m.Name))
	put("cpus", fmt.Sprint(m.CPUs))
	put("memory", fmt.Sprint(m.MemoryMiB))
	put("disk", fmt.Sprint(m.DiskGiB))
	if m.RestoreDir != "" {
		put("restore", quoted(filepath.Clean(m.RestoreDir)))
	}
	if m.Tools != "" {
		put("tools", quoted(m.Tools))
	}
}

// effectiveImage prints the image's fields; there are none for the default.
func (c *Config) effectiveImage(line func(indent int, field, key, value string)) {
	i := c.VM.Image
	for _, f := range []struct{ key, value string }{
		{"location", i.Location}, {"digest", i.Digest}, {"kernel", i.KernelLocation}, {"kernel_digest", i.KernelDigest},
		{"cmdline", i.Cmdline}, {"initrd", i.InitrdLocation}, {"initrd_digest", i.InitrdDigest},
	} {
		if f.value != "" {
			line(4, "vm.image."+f.key, f.key, quoted(f.value))
		}
	}
}
