// Package templates renders the description of the virtual machine: a
// lima.yaml that is complete by itself. Rendering is pure: the same VM gives
// the same bytes, and nothing is read but what is embedded here.
//
// Lima reads every script and every mount location as a Go template, hence
// other delimiters in lima.yaml, [[ ]].
package templates

import (
	"bytes"
	"embed"
	"encoding/base64"
	"path"
	"strconv"
	"strings"
	"text/template"

	"fuseless/guest/proto"
)

//go:embed lima.yaml *.sh
var files embed.FS

// Where things are in the guest.
const (
	RunDir     = "/run/fuseless"              // in memory
	FailedFile = RunDir + "/provision.failed" // holds why provisioning failed
	DoneFile   = RunDir + "/provision.done"   // provisioning of this boot is done
	GuestFile  = "/usr/local/bin/fuseless-guest"
	LogFile    = "/var/log/cloud-init-output.log" // of provisioning
	payload    = RunDir + "/guest.xz.base64"
)

// marker is the comment that the guest binary follows.
const marker = "# The guest binary (xz, base64). It is unpacked by the script above."

// VM is what the virtual machine is rendered from. Zero values stand for the
// defaults given here.
type VM struct {
	HostOS string // "darwin" or "linux"
	Arch   string // of host and guest: "amd64" or "arm64"
	Home   string // the user's home folder, refused as a source; empty: not checked

	Images    []Image // default: Debian 13's cloud images
	CPUs      int     // default: 2
	MemoryMiB int     // default: 1024
	DiskGiB   int     // default: 10

	Sources    []string // absolute paths on the host, mounted read-only; see MountPoint
	RestoreDir string   // absolute path on the host, mounted writable at RestorePoint; empty: none
	Ports      []int    // of the vaults' WebDAV servers, 1024 to 65535

	Guest    []byte   // the fuseless-guest binary for Arch, compressed by xz
	Packages []string // of Debian; default: gocryptfs, sshfs, rsync, fuse3, xz-utils
}

// Defaults of a VM. Lima's own are 4 CPUs, 4 GiB and 100 GiB.
const (
	defaultCPUs      = 2
	defaultMemoryMiB = 1024
	defaultDiskGiB   = 10
)

var defaultPackages = []string{"gocryptfs", "sshfs", "rsync", "fuse3", "xz-utils"}

// Render gives the lima.yaml of vm. What is wrong with vm comes all at once, as
// a proto.Error with code proto.Config (proto.Internal if the guest binary is
// missing).
//
// A file is for one architecture, that of the host: the VM is never emulated,
// the guest binary is most of the file, and images of other architectures
// would only be there to be passed over.
func Render(vm VM) ([]byte, error) {
	if len(vm.Guest) == 0 {
		return nil, proto.Errorf(proto.Internal, "no guest binary for %s", vm.Arch)
	}
	fill(&vm)
	if err := check(vm); err != nil {
		return nil, err
	}
	text, err := files.ReadFile("lima.yaml")
	if err != nil {
		return nil, err
	}
	t, err := template.New("lima.yaml").Delims("[[", "]]").Option("missingkey=error").
		Funcs(template.FuncMap{"quote": quote, "script": script}).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, newView(vm)); err != nil {
		return nil, err
	}
	writePayload(&out, vm.Guest)
	return out.Bytes(), nil
}

// WithoutGuest is a rendering up to the guest binary. Two renderings that
// differ only behind it need no restart: the binary can be replaced in the
// running VM.
func WithoutGuest(rendered []byte) []byte {
	if i := bytes.LastIndex(rendered, []byte("\n"+marker+"\n")); i >= 0 {
		return rendered[:i+1]
	}
	return rendered
}

// Disk is the part of a rendering that counts only when the VM is made: Lima
// never changes the disk of one that exists.
func Disk(rendered []byte) []byte {
	var out []byte
	image := false
	for line := range bytes.Lines(WithoutGuest(rendered)) {
		switch {
		case bytes.HasPrefix(line, []byte("images:")):
			image = true
		case len(bytes.TrimSpace(line)) == 0:
			image = false
		}
		if image || bytes.HasPrefix(line, []byte("disk:")) {
			out = append(out, line...)
		}
	}
	return out
}

func fill(vm *VM) {
	for _, v := range []struct {
		field *int
		value int
	}{{&vm.CPUs, defaultCPUs}, {&vm.MemoryMiB, defaultMemoryMiB}, {&vm.DiskGiB, defaultDiskGiB}} {
		if *v.field == 0 {
			*v.field = v.value
		}
	}
	if len(vm.Images) == 0 {
		vm.Images = defaultImages
	}
	if len(vm.Packages) == 0 {
		vm.Packages = defaultPackages
	}
}

// view is what lima.yaml sees.
type view struct {
	VM
	Arch      string // Lima's name
	Images    []Image
	Mounts    []mount
	MountType string // empty: Lima's choice
	MountList string // for probe-mounts.sh
	Packages  string
	Marker    string
	Payload   string
}

func newView(vm VM) view {
	v := view{VM: vm, Arch: limaArch(vm.Arch), Mounts: mounts(vm), Packages: strings.Join(vm.Packages, " "), Marker: marker, Payload: payload}
	v.Images = imagesFor(vm)
	if vm.HostOS == "linux" {
		// Said outright, since what Lima chooses for QEMU has changed before.
		v.MountType = "reverse-sshfs"
	}
	var list []string
	for _, m := range v.Mounts {
		access := "ro:"
		if m.Writable {
			access = "rw:"
		}
		list = append(list, access+m.MountPoint)
	}
	v.MountList = strings.Join(list, " ")
	return v
}

// quote gives s as a YAML scalar. The escapes of strconv.Quote are a part of
// those of a double-quoted scalar (YAML 1.2, section 5.7), as long as s is valid
// UTF-8, which check sees to. One style for all is easier to be sure of than
// a choice of styles by content.
func quote(s string) string { return strconv.Quote(s) }

// script gives an embedded script as the content of a block scalar. The
// variables (name, value, ...) are set in the line after "#!"; their values
// must not hold a single quote.
func script(name string, vars ...string) (string, error) {
	text, err := files.ReadFile(path.Base(name))
	if err != nil {
		return "", err
	}
	shebang, rest, _ := strings.Cut(strings.TrimRight(string(text), "\n"), "\n")
	lines := []string{shebang}
	for i := 0; i+1 < len(vars); i += 2 {
		lines = append(lines, vars[i]+"='"+vars[i+1]+"'")
	}
	lines = append(lines, strings.Split(rest, "\n")...)
	for i, line := range lines {
		if line != "" {
			lines[i] = "    " + line
		}
	}
	return strings.Join(lines, "\n"), nil
}

// writePayload writes data in long lines: each costs five bytes more, and Lima
// takes no file of more than 4 MiB.
func writePayload(out *bytes.Buffer, data []byte) {
	const width = 4000
	text := base64.StdEncoding.EncodeToString(data)
	for len(text) > 0 {
		n := min(width, len(text))
		out.WriteString("    ")
		out.WriteString(text[:n])
		out.WriteByte('\n')
		text = text[n:]
	}
}
