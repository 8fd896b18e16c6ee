package templates

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"fuseless/guest/proto"
)

var (
	// Names as Debian's policy has them (section 5.6.1).
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	digest      = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$`)
)

// problems collects what is wrong with a VM.
type problems []string

func (p *problems) addf(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// check says all that is wrong with vm, which has its defaults.
func check(vm VM) error {
	var p problems
	if vm.HostOS != "darwin" && vm.HostOS != "linux" {
		p.addf("host: %q is not one that has a virtual machine; darwin and linux are", vm.HostOS)
	}
	if limaArch(vm.Arch) == "" {
		p.addf("arch: %q is not one that has a guest binary; amd64 and arm64 are", vm.Arch)
	}
	if vm.CPUs < 1 || vm.MemoryMiB < 1 || vm.DiskGiB < 1 {
		p.addf("size: %d CPUs, %d MiB of memory and %d GiB of disk must all be positive", vm.CPUs, vm.MemoryMiB, vm.DiskGiB)
	}
	checkImages(vm, &p)
	checkFolders(vm, &p)
	seen := map[int]bool{}
	for _, port := range vm.Ports {
		switch {
		case port < 1024 || port > 65535:
			p.addf("port: %d is not between 1024 and 65535", port)
		case seen[port]:
			p.addf("port: %d is given twice", port)
		}
		seen[port] = true
	}
	for _, name := range vm.Packages {
		if !packageName.MatchString(name) {
			p.addf("package: %q is not the name of a Debian package", name)
		}
	}
	if len(p) == 0 {
		return nil
	}
	return proto.Errorf(proto.Config, "cannot describe the virtual machine:\n  %s", strings.Join(p, "\n  "))
}

func checkFolders(vm VM, p *problems) {
	fold := vm.HostOS == "darwin" // most of its file systems are case-insensitive
	for _, s := range vm.Sources {
		if fault := locationFault(s); fault != "" {
			p.addf("source: %q %s (give it another name, or a symbolic link)", s, fault)
			continue
		}
		if vm.Home != "" && within(vm.Home, s, fold) {
			p.addf("source: %q is your home folder, or holds it, with your ssh keys: give the folders below it", s)
		}
		if vm.RestoreDir != "" && (within(s, vm.RestoreDir, fold) || within(vm.RestoreDir, s, fold)) {
			p.addf("restore folder: the guest may write to %q, and so to the source %q", vm.RestoreDir, s)
		}
	}
	if vm.RestoreDir == "" {
		return
	}
	if fault := locationFault(vm.RestoreDir); fault != "" {
		p.addf("restore folder: %q %s", vm.RestoreDir, fault)
	} else if vm.Home != "" && within(vm.Home, vm.RestoreDir, fold) {
		p.addf("restore folder: %q is your home folder, or holds it: give a folder below it", vm.RestoreDir)
	}
}

func checkImages(vm VM, p *problems) {
	if limaArch(vm.Arch) != "" && len(imagesFor(vm)) == 0 {
		p.addf("image: there is none for %s", vm.Arch)
	}
	for _, i := range vm.Images {
		if i.Location == "" {
			p.addf("image: has no location")
		}
		if i.Arch != "" && limaArch(i.Arch) == "" {
			p.addf("image: %q is not an architecture; x86_64 and aarch64 are", i.Arch)
		}
		if i.KernelLocation == "" && (i.KernelDigest != "" || i.Cmdline != "" || i.InitrdLocation != "") {
			p.addf("image: %q has no kernel, but what belongs to one", i.Location)
		}
		if i.InitrdLocation == "" && i.InitrdDigest != "" {
			p.addf("image: %q has a digest of an initrd, but no initrd", i.Location)
		}
		for _, l := range []string{i.Location, i.KernelLocation, i.InitrdLocation} {
			if l != "" && !path.IsAbs(l) && !strings.HasPrefix(l, "https://") && !strings.HasPrefix(l, "http://") {
				p.addf("image: %q is neither a URL nor an absolute path", l)
			}
			if !printable(l) {
				p.addf("image: %q holds a character that cannot be printed, or is not UTF-8", l)
			}
		}
		if !printable(i.Cmdline) {
			p.addf("image: the kernel's command line %q holds a character that cannot be printed, or is not UTF-8", i.Cmdline)
		}
		for _, d := range []string{i.Digest, i.KernelDigest, i.InitrdDigest} {
			if d != "" && !digest.MatchString(d) {
				p.addf("image: %q is not a digest such as sha512:…", d)
			}
		}
	}
}

// printable tells whether s is UTF-8 and strconv.Quote leaves its characters as
// they are.
func printable(s string) bool {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}
