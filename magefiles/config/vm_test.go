package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/proto"
	"fuseless/templates"
)

func TestGuest(t *testing.T) {
	const rest = "vaults: {p: {destination: 'nas:p'}}\n"
	for _, c := range []struct{ guest, goos, says string }{
		{"", "linux", ""},
		{"guest: local\n", "linux", ""},
		{"guest: lima\n", "linux", ""},
		{"", "darwin", ""},
		{"guest: local\n", "darwin", "guest: local needs Linux; use lima (fuseless.yaml:1)"},
		{"guest: lima\nvm: {cpus: 0, memory: 64, disk: 1, name: A b, restore: /h}\n", "linux", "vm.cpus: 0 is too little; 1 is the least (fuseless.yaml:2)"},
		{"guest: lima\nvm: {memory: 64}\n", "linux", "vm.memory: 64 MiB is too little"},
		{"guest: lima\nvm: {disk: 1}\n", "linux", "vm.disk: 1 GiB is too little"},
		{"guest: lima\nvm: {name: A b}\n", "linux", `vm.name: "A b" cannot be the name of a VM`},
		{"guest: lima\nvm: {restore: /h}\n", "linux", "vm.restore: /h is your home folder"},
		{"guest: lima\nvm: {restore: /h/fuseless/p/x}\n", "linux", "is inside the mountpoint of p"},
		{"guest: lima\nvm: {image: {kernel: /k}}\n", "linux", "vm.image: has no location"},
		{"guest: lima\nvm: {image: {kernal: /k}}\n", "linux", "vm.image.kernal: there is no such field"},
		{"guest: lima\nvm: 3\n", "linux", "vm: must be a mapping"},
	} {
		_, err := parse(testFile, []byte(c.guest+rest), variables{"HOME": "/h"}, c.goos)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q on %s: %v", c.guest, c.goos, err)
		}
	}
}

func TestGuestLimaSeesNoFolderOfThisMachine(t *testing.T) {
	_, err := parseLinux("guest: lima\nvaults: {p: {destination: /disk/p}}\n")
	if proto.CodeOf(err) != proto.Config || !strings.Contains(fmt.Sprint(err), "vaults.p.destination: is a folder of this machine") {
		t.Error(err)
	}
	_, err = parseLinux("guest: lima\nvm: {restore: /s/r}\nvaults: {p: {source: /s, destination: 'nas:p'}}\n")
	if proto.CodeOf(err) != proto.Config || !strings.Contains(fmt.Sprint(err), "vm.restore: /s/r is inside the source of p") {
		t.Error(err)
	}
}

func TestVM(t *testing.T) {
	c, err := parse(testFile, []byte("guest: lima\nvm: {cpus: 3, restore: ~/back, image: {location: 'https://x.org/i.qcow2', kernel: k/vmlinuz, cmdline: ro}}\n"+
		"vaults: {p: {destination: 'nas:p'}}\n"), variables{"HOME": "/h", "FUSELESS_VM_MEMORY": "2048"}, "linux")
	if err != nil {
		t.Fatal(err)
	}
	want := VM{Name: "fuseless", CPUs: 3, MemoryMiB: 2048, DiskGiB: 10, RestoreDir: "/h/back", Image: templates.Image{
		Location: "https://x.org/i.qcow2", KernelLocation: filepath.Join(filepath.Dir(testFile), "k/vmlinuz"), Cmdline: "ro"}}
	if c.VM != want {
		t.Errorf("got  %+v\nwant %+v", c.VM, want)
	}
	// What is printed is what is read.
	var b strings.Builder
	if err := c.Effective(&b); err != nil {
		t.Fatal(err)
	}
	again, err := parse(testFile, []byte(b.String()), variables{"HOME": "/h"}, "linux")
	if err != nil || again.VM != want {
		t.Errorf("%v: %+v of\n%s", err, again, b.String())
	}
}
