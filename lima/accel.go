package lima

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// Acceleration is how fast this machine runs a VM.
type Acceleration struct {
	Fast bool   // by the processor itself; false: QEMU translates (TCG)
	Why  string // what was found
}

// probeTime is how long the probe's guest may take. It takes a third of a
// second; some machines open /dev/kvm and then hang.
const probeTime = 8 * time.Second

// Accelerate says how this machine runs VMs. On Linux it runs one to know.
func Accelerate(ctx context.Context) Acceleration {
	if runtime.GOOS == "darwin" {
		return Acceleration{Fast: true, Why: "macOS's own virtualisation"}
	}
	ok, why := KVM(ctx)
	return Acceleration{Fast: ok, Why: why}
}

// Env makes limactl run QEMU without KVM, which it asks for otherwise. The
// machine types are those that Lima itself passes (pkg/driver/qemu).
func (a Acceleration) Env() []string {
	if a.Fast {
		return nil
	}
	machine := "q35,vmport=off"
	if runtime.GOARCH == "arm64" {
		machine = "virt"
	}
	arch := limaArch(runtime.GOARCH)
	return []string{fmt.Sprintf("QEMU_SYSTEM_%s=qemu-system-%s -machine %s -accel tcg,thread=multi,tb-size=512 -cpu max",
		strings.ToUpper(arch), arch, machine)}
}

// Timeout is how long a VM may take to become ready, at its first start, when
// it installs packages.
func (a Acceleration) Timeout() time.Duration {
	if a.Fast {
		return 10 * time.Minute
	}
	return 30 * time.Minute
}

// Warning is what a person must be told, or "".
func (a Acceleration) Warning() string {
	if a.Fast {
		return ""
	}
	return "this machine cannot accelerate a VM (" + a.Why + "): it works, but ten times slower; the first start takes 5 to 15 minutes"
}

// KVM says whether KVM works here, and why not: by running something under it.
// That /dev/kvm opens says nothing on a virtual machine.
func KVM(ctx context.Context) (ok bool, why string) {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, "there is no /dev/kvm"
	case errors.Is(err, fs.ErrPermission):
		return false, "no permission for /dev/kvm; to get it: sudo usermod -aG kvm " + os.Getenv("USER") + ", and log in again"
	case err != nil:
		return false, err.Error()
	}
	f.Close()
	if ok, why = probe(ctx, "kvm", "host"); ok && runtime.GOARCH == "amd64" {
		ok, why = firmwareRuns(ctx, "kvm", "host")
	}
	return ok, why
}

// firmware is the UEFI firmware that Lima boots a PC with, found in its order (pkg/driver/qemu,
// getFirmware); "" if there is none.
func firmware(qemu string) string {
	const relative = "share/qemu/edk2-x86_64-code.fd"
	home, _ := os.UserHomeDir()
	for _, f := range []string{
		filepath.Join(home, ".local", relative), filepath.Join(filepath.Dir(filepath.Dir(qemu)), relative),
		"/usr/share/edk2/x64/OVMF_CODE.4m.fd", // Arch Linux
		"/usr/share/OVMF/OVMF_CODE.fd",        // Debian
		"/usr/share/OVMF/OVMF_CODE_4M.fd",
		"/usr/share/edk2/ovmf/OVMF_CODE.fd", // Fedora
		"/usr/share/qemu/ovmf-x86_64.bin",   // openSUSE
	} {
		if _, err := os.Stat(f); err == nil {
			return f
		}
	}
	return ""
}

// firmwareTime is for how long the firmware runs; where it cannot, QEMU says so in the first instant, and stops.
const firmwareTime = 2 * time.Second

// firmwareRuns starts the firmware. Where a hypervisor below emulates a part of the processor
// only, the probe's few instructions run under KVM, and the firmware's do not: "KVM internal
// error", and a guest that stands still. Without a firmware to try it says yes.
func firmwareRuns(ctx context.Context, accel, cpu string) (ok bool, why string) {
	qemu := lookPath("qemu-system-" + limaArch(runtime.GOARCH))
	file := firmware(qemu)
	if file == "" {
		return true, "KVM works"
	}
	dir, err := os.MkdirTemp("", "fuseless-kvm-")
	if err != nil {
		return false, err.Error()
	}
	defer os.RemoveAll(dir)
	argv := []string{"timeout", "--foreground", "--signal=KILL", strconv.FormatFloat(firmwareTime.Seconds(), 'f', -1, 64),
		qemu, "-accel", accel, "-cpu", cpu, "-machine", "q35", "-m", "256", "-nodefaults", "-no-user-config",
		"-display", "none", "-no-reboot", "-drive", "if=pflash,format=raw,readonly=on,file=" + file}
	begin := time.Now()
	err = proc.Run(ctx, proc.Cmd{Argv: argv, Dir: dir})
	said := strings.TrimSpace(proc.Stderr(err)) // warnings, too
	switch {
	case ctx.Err() != nil:
		return false, "interrupted"
	case strings.Contains(said, "KVM internal error"):
		return false, "/dev/kvm opens, but UEFI firmware does not run (KVM internal error): this machine is itself a VM, without whole nested virtualisation"
	case time.Since(begin) < firmwareTime: // by itself
		return false, "/dev/kvm opens, but no firmware runs: " + said
	}
	return true, "KVM works"
}

// probe runs a tiny guest that does nothing but end.
func probe(ctx context.Context, accel, cpu string) (ok bool, why string) {
	qemu := lookPath("qemu-system-" + limaArch(runtime.GOARCH))
	if qemu == "" {
		return false, "QEMU is not installed"
	}
	dir, err := os.MkdirTemp("", "fuseless-kvm-")
	if err != nil {
		return false, err.Error()
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, payload(runtime.GOARCH), 0o600); err != nil {
		return false, err.Error()
	}
	// A QEMU that hangs in the kernel takes no notice of SIGTERM. --foreground:
	// timeout kills QEMU only, not itself, and waits for it.
	limit := strconv.FormatFloat(probeTime.Seconds(), 'f', -1, 64)
	argv := append([]string{"timeout", "--foreground", "--signal=KILL", limit, qemu}, probeArgs(runtime.GOARCH, accel, cpu, image)...)
	begin := time.Now()
	err = proc.Run(ctx, proc.Cmd{Argv: argv, Dir: dir}) // an aborted QEMU may leave a core file
	switch code := proc.ExitCode(err); {
	case ctx.Err() != nil:
		return false, "interrupted"
	case runtime.GOARCH == "amd64" && code == debugExit, runtime.GOARCH != "amd64" && err == nil:
		return true, "KVM works"
	case time.Since(begin) >= probeTime:
		return false, fmt.Sprintf("/dev/kvm opens, but a guest hangs: it did not end within %s", probeTime)
	case err == nil:
		return false, "QEMU ended without running its guest"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(proc.Stderr(err)), "\n")
	if line == "" {
		line = err.Error()
	}
	return false, "/dev/kvm opens, but no guest runs: " + strings.TrimPrefix(line, qemu+": ")
}

// debugExit is QEMU's exit status when the payload writes 0x10 to
// isa-debug-exit: (0x10 << 1) | 1.
const debugExit = 0x10<<1 | 1

// probeArgs make a machine of the type, and with the processor, that Lima's
// would have.
func probeArgs(goarch, accel, cpu, image string) []string {
	common := []string{"-accel", accel, "-cpu", cpu, "-m", "64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"}
	if goarch == "arm64" {
		return append([]string{"-machine", "virt", "-bios", image}, common...)
	}
	return append([]string{"-machine", "pc", "-drive", "if=floppy,format=raw,file=" + image,
		"-boot", "a", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"}, common...)
}

// payload is a program that ends QEMU. On a PC it is a boot sector, which runs
// after the BIOS has: so 16-bit and 32-bit code, interrupts and I/O work.
func payload(goarch string) []byte {
	if goarch == "arm64" {
		// PSCI's SYSTEM_OFF, by a call of the hypervisor (Arm DEN0022, 5.1.9).
		var b []byte
		for _, op := range []uint32{
			0x52800100, // mov w0, #0x0008
			0x72b08000, // movk w0, #0x8400, lsl #16
			0xd4000002, // hvc #0
			0x14000000, // b .
		} {
			b = binary.LittleEndian.AppendUint32(b, op)
		}
		return append(b, make([]byte, 4096-len(b))...)
	}
	sector := make([]byte, 512)
	copy(sector, []byte{
		0xb0, 0x10, // mov al, 0x10
		0xe6, 0xf4, // out 0xf4, al
		0xf4,       // hlt
		0xeb, 0xfd, // jmp to hlt
	})
	sector[510], sector[511] = 0x55, 0xaa // bootable
	return append(sector, make([]byte, 2880*512-len(sector))...)
}

// NeedQEMU says whether QEMU is there, which Lima uses on Linux. The error is
// a *proto.Error with code Prerequisite. macOS needs none.
func NeedQEMU() error {
	if runtime.GOOS == "darwin" {
		return nil
	}
	arch := limaArch(runtime.GOARCH)
	var missing []string
	for _, p := range []string{"qemu-system-" + arch, "qemu-img"} {
		if lookPath(p) == "" {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return proto.Errorf(proto.Prerequisite, "%s is not installed; it runs the VM", strings.Join(missing, " and ")).
		WithHint("sudo apt-get install --no-install-recommends %s", strings.Join(QEMUPackages(), " "))
}

// QEMUPackages are the Debian packages that a VM needs on a Linux host: QEMU,
// qemu-img, the firmware that Lima looks for, and the server by which it mounts
// the sources.
func QEMUPackages() []string {
	if runtime.GOARCH == "arm64" {
		return []string{"qemu-system-arm", "qemu-efi-aarch64", "qemu-utils", "openssh-sftp-server"}
	}
	return []string{"qemu-system-x86", "qemu-utils", "ovmf", "openssh-sftp-server"}
}
