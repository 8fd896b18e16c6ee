//go:build linux

package e2e

import (
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"fuseless/guest/proc"
	"fuseless/lima"
	"fuseless/magefiles/config"
	"fuseless/magefiles/privilege"
)

// Who measures through a VM gets a user with a configuration that is one, who can
// read what was given, and of whom nothing is left.
func TestVMUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a user")
	}
	for _, n := range Needs() {
		if slices.Contains([]string{"useradd", "setpriv", "sudo"}, n.Program) {
			if _, err := privilege.LookPath(n.Program); err != nil {
				t.Skip(err)
			}
		}
	}
	v, err := newVM(t.Context(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			_ = v.Close(t.Context())
		}
	}()
	v.r.tool = lima.Tool{Path: "/opt/lima/bin/limactl"}
	v.r.image.Disk, v.r.image.Kernel, v.r.image.Initrd = "/image/disk", "/image/kernel", "/image/initrd"
	ssh, err := v.Give("ssh_config", []byte("Host far\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Install("/bin/true"); err != nil {
		t.Fatal(err)
	}
	if err := v.Configure(ssh, "  bench:\n    destination: far:/vault\n    port: 9844\n    passphrase: {command: [cat, secret]}\n"); err != nil {
		t.Fatal(err)
	}
	file := v.r.home(".config", "fuseless", "fuseless.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(file, data, []string{"HOME=" + v.Home()})
	if err != nil {
		t.Fatal(err)
	}
	if c.Guest != config.Lima || c.Vaults[0].Port != 9844 || c.VM.Tools != "/opt/lima" || c.VM.Image.KernelLocation != "/image/kernel" {
		t.Errorf("%+v", c)
	}
	run := func(argv []string) error { return proc.Run(t.Context(), proc.Cmd{Argv: argv, Dir: v.Home()}) }
	for _, argv := range [][]string{v.Argv("cat", ssh, file), v.Fuseless("bench", "status")} {
		if err := run(argv); err != nil {
			t.Errorf("%q: %v", argv, err)
		}
	}
	if fi, err := os.Stat(ssh); err != nil || fi.Mode().Perm() != 0o600 || int(fi.Sys().(*syscall.Stat_t).Uid) != v.r.user.uid {
		t.Errorf("%v, %v", fi, err)
	}
	// What the user left running, and its runtime folder, go too.
	runtime := filepath.Join("/dev/shm", v.r.user.name)
	if err := run(v.Argv("sh", "-c", `mkdir -- "$1" && { setsid sleep 1000 >/dev/null 2>&1 & }`, "sh", runtime)); err != nil {
		t.Fatal(err)
	}
	if n := len(v.r.user.processes()); n != 1 {
		t.Errorf("%d processes", n)
	}
	closed = true
	if err := v.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if pids := v.r.user.processes(); len(pids) > 0 {
		t.Errorf("left running: %s", commandLine(pids[0]))
	}
	for _, left := range []string{v.Home(), v.r.mem, v.r.dir, v.r.user.sudoers(), runtime} {
		if _, err := os.Lstat(left); !os.IsNotExist(err) {
			t.Errorf("left: %s: %v", left, err)
		}
	}
	if _, err := user.Lookup(v.r.user.name); err == nil {
		t.Error("the user is left")
	}
}

// How QEMU runs its guest is in its command line, as Lima makes it, also where the
// machine is given twice.
func TestAccelerator(t *testing.T) {
	for command, want := range map[string]string{
		"/usr/bin/qemu-system-x86_64 -machine q35,vmport=off -accel tcg,thread=multi,tb-size=512 -cpu max -m 1024 -drive file=/home/kvm/disk": "TCG",
		"qemu-system-x86_64 -m 1024 -cpu host -machine q35,vmport=off,accel=kvm -smp 2":                                                       "KVM",
		"qemu-system-aarch64 -machine virt,accel=tcg":                                                                                         "TCG",
		"qemu-system-x86_64 -drive file=/var/cache/accel/kvm -name accel":                                                                     "",
	} {
		got, err := accelerator(command)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", command, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), command) {
			t.Error(err)
		}
	}
}
