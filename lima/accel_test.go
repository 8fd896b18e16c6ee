package lima

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func needQEMU(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("QEMU is for Linux")
	}
	if lookPath("qemu-system-"+limaArch(runtime.GOARCH)) == "" {
		t.Skip("QEMU is not installed")
	}
}

// What the probe runs under KVM ends also without it: so where it does not end
// under KVM, that is KVM's fault.
func TestProbeEndsUnderTCG(t *testing.T) {
	needQEMU(t)
	if ok, why := probe(t.Context(), "tcg", "max"); !ok {
		t.Errorf("the probe does not work: %s", why)
	}
}

func TestProbeTellsWhy(t *testing.T) {
	needQEMU(t)
	if ok, why := probe(t.Context(), "nosuch", "max"); ok || !strings.Contains(why, "nosuch") {
		t.Errorf("got %v, %q", ok, why)
	}
}

// Whatever the machine's KVM does, the probe ends, and says what it found.
func TestProbeOfKVMEnds(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("KVM is for Linux")
	}
	begin := time.Now()
	ok, why := KVM(t.Context())
	d := time.Since(begin)
	t.Logf("%v, %s, after %s", ok, why, d)
	if why == "" || d > probeTime+5*time.Second {
		t.Errorf("took %s, and said %q", d, why)
	}
	if _, err := os.Stat("/dev/kvm"); os.IsNotExist(err) && ok {
		t.Error("KVM without a device")
	}
}

// Where nothing is in its way, the firmware runs: what QEMU is told is right.
func TestFirmwareRuns(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("a PC's firmware is for Linux on amd64")
	}
	if firmware(lookPath("qemu-system-x86_64")) == "" {
		t.Skip("no UEFI firmware; `go tool mage test` installs it (Debian: ovmf)")
	}
	begin := time.Now()
	if ok, why := firmwareRuns(t.Context(), "tcg", "max"); !ok || time.Since(begin) < firmwareTime {
		t.Errorf("%v, %s, after %s", ok, why, time.Since(begin))
	}
	if ok, why := firmwareRuns(t.Context(), "none", "host"); ok {
		t.Errorf("without an accelerator: %s", why)
	}
}

func TestAccelerationEnv(t *testing.T) {
	if e := (Acceleration{Fast: true}).Env(); e != nil {
		t.Errorf("with KVM limactl needs no help: %q", e)
	}
	want := map[string]string{
		"amd64": "QEMU_SYSTEM_X86_64=qemu-system-x86_64 -machine q35,vmport=off -accel tcg,thread=multi,tb-size=512 -cpu max",
		"arm64": "QEMU_SYSTEM_AARCH64=qemu-system-aarch64 -machine virt -accel tcg,thread=multi,tb-size=512 -cpu max",
	}[runtime.GOARCH]
	if e := (Acceleration{}).Env(); len(e) != 1 || e[0] != want {
		t.Errorf("got %q, want %q", e, want)
	}
}
