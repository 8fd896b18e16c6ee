package templates_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lima-vm/lima/pkg/limayaml"
	"github.com/ulikunitz/xz"

	"fuseless/guest/proto"
	"fuseless/templates"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	flag.Parse()
	// limayaml reads the defaults of whoever runs the test otherwise.
	home, err := os.MkdirTemp("", "templates-")
	if err != nil {
		panic(err)
	}
	os.Setenv("LIMA_HOME", home)
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

// standIn takes the place of the guest binary.
const standIn = "#!/bin/sh\necho fuseless-guest stand-in\n"

// packed is content as the guest binary is packed.
func packed(t testing.TB, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// nasty are paths that are legal and hard to write in YAML, in a shell, in
// fstab or in a Go template.
var nasty = []string{
	`/home/me/My Pictures: "best" #1`,
	`/home/me/it's {{.Home}} \ {{{{ }} {{- "x" -}}`,
	"/home/me/Überraschung/Cafe\u0301 & 日本 [x], {y} *a &b !c |> %d @e",
}

var cases = map[string]templates.VM{
	"defaults": {HostOS: "linux", Arch: "amd64", Sources: []string{"/home/me/Pictures"}, Ports: []int{9843}},
	"macos": {HostOS: "darwin", Arch: "arm64", Home: "/Users/me", Sources: []string{"/Users/me/Pictures"},
		RestoreDir: "/Users/me/fuseless/restore", Ports: []int{9843}},
	"linux": {HostOS: "linux", Arch: "amd64", Home: "/home/me", Sources: []string{"/home/me/Pictures"},
		RestoreDir: "/home/me/fuseless/restore", Ports: []int{9843}},
	"own-image": {HostOS: "linux", Arch: "amd64", CPUs: 4, MemoryMiB: 2048, DiskGiB: 20, Ports: []int{9843},
		Sources: []string{"/home/me/Pictures"}, Images: []templates.Image{{
			Location: "/var/cache/fuse less/debian.img", Digest: "sha256:" + strings.Repeat("0a", 32),
			KernelLocation: "/var/cache/fuse less/vmlinuz", KernelDigest: "sha256:" + strings.Repeat("1b", 32),
			Cmdline:        "root=LABEL=fuseless ro console=ttyS0 net.ifnames=0 ds=nocloud",
			InitrdLocation: "/var/cache/fuse less/initrd.img", InitrdDigest: "sha256:" + strings.Repeat("2c", 32),
		}}},
	"three-vaults": {HostOS: "linux", Arch: "arm64", Sources: nasty, RestoreDir: "/home/me/re store", Ports: []int{9843, 9844, 20000}},
}

func render(t testing.TB, vm templates.VM) []byte {
	t.Helper()
	if vm.Guest == nil {
		vm.Guest = packed(t, standIn)
	}
	b, err := templates.Render(vm)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// load is what Lima makes of a rendering.
func load(t testing.TB, rendered []byte) *limayaml.LimaYAML {
	t.Helper()
	y, err := limayaml.Load(rendered, filepath.Join(t.TempDir(), "lima.yaml"))
	if err != nil {
		t.Fatalf("%v in\n%s", err, rendered)
	}
	return y
}

func TestGolden(t *testing.T) {
	for name, vm := range cases {
		got := render(t, vm)
		file := filepath.Join("..", "testdata", "lima", name+".yaml")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("differs from %s (-update writes it):\n%s", file, got)
		}
		if again := render(t, vm); !bytes.Equal(got, again) {
			t.Errorf("%s: two renderings differ", name)
		}
	}
}

func TestMounts(t *testing.T) {
	for name, vm := range cases {
		y := load(t, render(t, vm))
		var sources, writable []string
		points := map[string]bool{}
		for _, m := range y.Mounts {
			if *m.Writable {
				writable = append(writable, m.Location)
			} else {
				sources = append(sources, m.Location)
			}
			if *m.Writable != (*m.MountPoint == templates.RestorePoint) || !*m.Writable && *m.MountPoint != templates.MountPoint(m.Location) {
				t.Errorf("%s: %s is at %s", name, m.Location, *m.MountPoint)
			}
			if points[*m.MountPoint] {
				t.Errorf("%s: two mounts at %s", name, *m.MountPoint)
			}
			points[*m.MountPoint] = true
		}
		if !slices.Equal(sources, vm.Sources) {
			t.Errorf("%s: read-only are %q", name, sources)
		}
		if vm.RestoreDir == "" && len(writable) > 0 || vm.RestoreDir != "" && !slices.Equal(writable, []string{vm.RestoreDir}) {
			t.Errorf("%s: writable are %q", name, writable)
		}
		if runtime.GOOS == "linux" && *y.MountType != limayaml.REVSSHFS { // by QEMU, whatever the host in the case
			t.Errorf("%s: mounts by %s", name, *y.MountType)
		}
	}
	none := load(t, render(t, templates.VM{HostOS: "linux", Arch: "amd64"}))
	if len(none.Mounts) != 0 || len(none.Probes) != 2 {
		t.Errorf("without a source there are mounts %v and %d probes", none.Mounts, len(none.Probes))
	}
	twice := load(t, render(t, templates.VM{HostOS: "linux", Arch: "amd64", Sources: []string{"/a", "/b", "/a"}}))
	if len(twice.Mounts) != 2 {
		t.Errorf("a source of two vaults is mounted %d times", len(twice.Mounts)-1)
	}
}

func TestNothingElseOfTheHost(t *testing.T) {
	y := load(t, render(t, cases["defaults"]))
	for what, on := range map[string]*bool{
		"containerd.user": y.Containerd.User, "containerd.system": y.Containerd.System,
		"loadDotSSHPubKeys": y.SSH.LoadDotSSHPubKeys, "forwardAgent": y.SSH.ForwardAgent, "forwardX11": y.SSH.ForwardX11,
		"rosetta": y.Rosetta.Enabled, "mountInotify": y.MountInotify, "plain": y.Plain, "upgradePackages": y.UpgradePackages,
	} {
		if *on {
			t.Errorf("%s is on", what)
		}
	}
	if *y.CPUs != 2 || *y.Memory != "1024MiB" || *y.Disk != "10GiB" || len(y.CopyToHost) != 0 || len(y.Networks) != 0 {
		t.Errorf("got %d CPUs, %s, %s, %v, %v", *y.CPUs, *y.Memory, *y.Disk, y.CopyToHost, y.Networks)
	}
}

func TestDefaultImages(t *testing.T) {
	for _, c := range []struct{ arch, lima string }{{"amd64", "x86_64"}, {"arm64", "aarch64"}} {
		y := load(t, render(t, templates.VM{HostOS: "darwin", Arch: c.arch}))
		if *y.Arch != c.lima || len(y.Images) != 2 {
			t.Fatalf("%s: arch %s, images %v", c.arch, *y.Arch, y.Images)
		}
		for _, i := range y.Images {
			if i.Arch != c.lima || !strings.Contains(i.Location, "debian-13-genericcloud-"+c.arch) {
				t.Errorf("%s: image %s for %s", c.arch, i.Location, i.Arch)
			}
		}
		if err := y.Images[0].Digest.Validate(); err != nil {
			t.Errorf("the first image of %s: %v", c.arch, err)
		}
	}
}

func TestWithoutGuest(t *testing.T) {
	vm := cases["three-vaults"]
	one := render(t, vm)
	vm.Guest = packed(t, standIn+"# newer\n")
	two := render(t, vm)
	vm.Ports = []int{9843}
	three := render(t, vm)
	head := templates.WithoutGuest(one)
	if !bytes.HasPrefix(one, head) || len(head) == len(one) || bytes.Equal(one, two) {
		t.Fatal("does not cut the guest binary off")
	}
	if !bytes.Equal(head, templates.WithoutGuest(two)) {
		t.Error("another binary changes what is before it")
	}
	if bytes.Equal(head, templates.WithoutGuest(three)) {
		t.Error("other ports change nothing")
	}
}

func TestErrors(t *testing.T) {
	good := templates.VM{HostOS: "darwin", Arch: "arm64", Home: "/Users/me", Sources: []string{"/Users/me/A"}, Guest: []byte("x")}
	for says, change := range map[string]func(*templates.VM){
		`host: "windows"`:        func(vm *templates.VM) { vm.HostOS = "windows" },
		`arch: "386"`:            func(vm *templates.VM) { vm.Arch = "386" },
		"size: -1 CPUs":          func(vm *templates.VM) { vm.CPUs = -1 },
		"port: 80 ":              func(vm *templates.VM) { vm.Ports = []int{80} },
		"port: 2000 is given":    func(vm *templates.VM) { vm.Ports = []int{2000, 2000} },
		`package: "x; reboot"`:   func(vm *templates.VM) { vm.Packages = []string{"x; reboot"} },
		"not an absolute path":   func(vm *templates.VM) { vm.Sources = []string{"~/x"} },
		"not a clean path":       func(vm *templates.VM) { vm.Sources = []string{"/x/"} },
		"is the root folder":     func(vm *templates.VM) { vm.Sources = []string{"/"} },
		"holds $ or `":           func(vm *templates.VM) { vm.Sources = []string{"/x/$(id)"} },
		`"/x\ny" holds a char`:   func(vm *templates.VM) { vm.Sources = []string{"/x\ny"} },
		`"/x\xff" holds a char`:  func(vm *templates.VM) { vm.Sources = []string{"/x\xff"} },
		"is your home folder":    func(vm *templates.VM) { vm.Sources = []string{"/Users/ME"} },
		"or holds it, with":      func(vm *templates.VM) { vm.Sources = []string{"/Users"} },
		"so to the source":       func(vm *templates.VM) { vm.RestoreDir = "/Users/me/a/b" },
		"may write to":           func(vm *templates.VM) { vm.RestoreDir = "/Users/me/A" },
		"folder below it":        func(vm *templates.VM) { vm.RestoreDir, vm.Sources = "/Users/me", nil },
		"restore folder: \"x\"":  func(vm *templates.VM) { vm.RestoreDir = "x" },
		"image: has no location": func(vm *templates.VM) { vm.Images = []templates.Image{{}} },
		"there is none for arm64": func(vm *templates.VM) {
			vm.Images = []templates.Image{{Location: "/i", Arch: "amd64"}}
		},
		"neither a URL":   func(vm *templates.VM) { vm.Images = []templates.Image{{Location: "~/i"}} },
		"has no kernel":   func(vm *templates.VM) { vm.Images = []templates.Image{{Location: "/i", Cmdline: "ro"}} },
		"is not a digest": func(vm *templates.VM) { vm.Images = []templates.Image{{Location: "/i", Digest: "sha512:00"}} },
	} {
		vm := good
		change(&vm)
		_, err := templates.Render(vm)
		if proto.CodeOf(err) != proto.Config || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v", says, err)
		}
	}
	bad := good
	bad.Sources, bad.Ports = []string{"x", "/x/"}, []int{1}
	if _, err := templates.Render(bad); err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("not all at once: %v", err)
	}
	bad = good
	bad.Guest = nil
	if _, err := templates.Render(bad); proto.CodeOf(err) != proto.Internal {
		t.Errorf("without a guest binary: %v", err)
	}
}

// Whatever path is accepted reaches Lima as it was, and a path that is only
// strange is accepted.
func FuzzRenderPaths(f *testing.F) {
	for _, p := range nasty {
		f.Add(p)
	}
	for _, p := range []string{"/", "/a", "/{{", "/{{{", "/a}}{{b", "/ ", "/- a", "/~", "/null", "/\u00a0", "/\U0001F600", "/\\n\\x41", "/'\"", "/a\r", "/`id`", "/%%s", "/\ufeff", "/\ufffd", "/{{`{{`}}", "/{{/* x */}}"} {
		f.Add(p)
	}
	guest := packed(f, standIn)
	f.Fuzz(func(t *testing.T, p string) {
		rendered, err := templates.Render(templates.VM{HostOS: "linux", Arch: "amd64", Sources: []string{p}, Guest: guest})
		if err != nil {
			if proto.CodeOf(err) != proto.Config {
				t.Errorf("%q: %v", p, err)
			}
			return
		}
		y := load(t, rendered)
		if len(y.Mounts) != 1 || y.Mounts[0].Location != p || *y.Mounts[0].Writable {
			t.Errorf("%q became %+v", p, y.Mounts)
		}
	})
}

func TestNastyPathsAreAccepted(t *testing.T) {
	for _, p := range nasty {
		if got := load(t, render(t, templates.VM{HostOS: "darwin", Arch: "arm64", Sources: []string{p}})).Mounts[0].Location; got != p {
			t.Errorf("%q became %q", p, got)
		}
	}
}
