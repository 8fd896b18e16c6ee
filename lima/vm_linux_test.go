package lima

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/proc"
	"fuseless/lima/guestimage"
)

// The environment of the test with a real VM.
const (
	vmSwitch = "FUSELESS_TEST_VM"       // 1: run it; it takes minutes
	vmCache  = "FUSELESS_TEST_VM_CACHE" // folder that keeps the image and limactl; others must be able to read it
	vmChild  = "FUSELESS_TEST_VM_CHILD" // set for the part that runs as an ordinary user: a vmConfig
)

// vmConfig is what the test hands to the part that runs as an ordinary user.
type vmConfig struct {
	Tool  Tool
	Image guestimage.Image
	Env   []string
	Wait  time.Duration
}

// TestVM boots a real VM: from packages, with a limactl built from the pin, and
// as an ordinary user that it makes for that.
func TestVM(t *testing.T) {
	if os.Getenv(vmSwitch) != "1" {
		t.Skipf("it boots a VM, which takes minutes: set %s=1", vmSwitch)
	}
	if os.Geteuid() != 0 {
		t.Skip("it makes a user, and a guest image, for which it needs root")
	}
	if err := NeedQEMU(); err != nil {
		t.Fatal(err)
	}
	cache := os.Getenv(vmCache)
	if cache == "" {
		cache = filepath.Join(os.TempDir(), "fuseless-test-vm")
	}
	src, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	var c vmConfig
	step(t, "build the guest image", func() error {
		c.Image, err = guestimage.Build(t.Context(), filepath.Join(cache, "image"), os.Stderr)
		return err
	})
	step(t, "build limactl and the guest agent", func() error {
		c.Tool, err = Build(t.Context(), src, filepath.Join(cache, "lima"))
		return err
	})
	var accel Acceleration
	step(t, "look for acceleration", func() error {
		accel = Accelerate(t.Context())
		return nil
	})
	t.Log(accel.Why)
	c.Env, c.Wait = accel.Env(), accel.Timeout()
	asUser(t, c)
}

// asUser runs TestVMAsUser as a new user, and then looks whether anything of
// that user's is left.
func asUser(t *testing.T, c vmConfig) {
	t.Helper()
	name := fmt.Sprintf("flvm%d", os.Getpid())
	home := filepath.Join("/home", name)
	run := func(argv ...string) error { return proc.Run(t.Context(), proc.Cmd{Argv: argv}) }
	if err := run("useradd", "--create-home", "--home-dir", home, "--shell", "/bin/bash", name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("userdel", "--remove", name).CombinedOutput(); err != nil {
			t.Errorf("userdel: %v: %s", err, out)
		}
	})
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	groups := []uint32{uint32(gid)}
	if g, err := user.LookupGroup("kvm"); err == nil && c.Env == nil {
		n, _ := strconv.Atoi(g.Gid)
		groups = append(groups, uint32(n))
	}
	t.Cleanup(func() {
		for _, pid := range processesOf(uid) {
			cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			t.Errorf("process %d is left: %q", pid, bytes.ReplaceAll(cmd, []byte{0}, []byte{' '}))
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	// The test binary lies where only root may go.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	test := filepath.Join(home, "lima.test")
	if err := os.WriteFile(test, self, 0o755); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), test, "-test.v", "-test.run=^TestVMAsUser$", "-test.timeout=100m")
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "USER=" + name, "LOGNAME=" + name, "PATH=/usr/local/bin:/usr/bin:/bin", "TMPDIR=/tmp", vmChild + "=" + string(config)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: groups}}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		t.Errorf("as %s: %v", name, err)
	}
	if left, _ := filepath.Glob(filepath.Join(home, ".fuseless-lima*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// processesOf are the living processes of a user.
func processesOf(uid int) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		var st syscall.Stat_t
		pid, _ := strconv.Atoi(filepath.Base(d))
		if syscall.Stat(d, &st) != nil || int(st.Uid) != uid {
			continue
		}
		if _, err := proc.StartTime(pid); err == nil { // not a zombie
			pids = append(pids, pid)
		}
	}
	return pids
}

// step runs f and logs how long it took.
func step(t *testing.T, what string, f func() error) {
	t.Helper()
	begin := time.Now()
	err := f()
	t.Logf("%7.2f s  %s", time.Since(begin).Seconds(), what)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// template is the smallest lima.yaml that shows all that the driver does.
func (c vmConfig) template(fact string) []byte {
	return fmt.Appendf(nil, `arch: %[1]s
images:
- location: %[2]q
  arch: %[1]s
  kernel: {location: %[3]q, cmdline: %[4]q}
  initrd: {location: %[5]q}
cpus: 2
memory: 1GiB
disk: 4GiB
mountType: reverse-sshfs
mounts: []
containerd: {system: false, user: false}
ssh: {loadDotSSHPubKeys: false}
portForwards:
- {guestIP: 0.0.0.0, proto: any, guestPortRange: [1, 65535], ignore: true}
- {guestIP: 127.0.0.1, proto: any, guestPortRange: [1, 65535], ignore: true}
provision:
- mode: system
  script: |
    #!/bin/sh
    echo provisioning says %[6]s
    echo %[6]s >/etc/fact
probes:
- mode: readiness
  description: the fact
  script: |
    #!/bin/sh
    grep -qx %[6]s /etc/fact
  hint: provisioning did not write the fact
`, limaArch(runtime.GOARCH), c.Image.Disk, c.Image.Kernel, c.Image.Cmdline, c.Image.Initrd, fact)
}

// TestVMAsUser is run by TestVM.
func TestVMAsUser(t *testing.T) {
	text := os.Getenv(vmChild)
	if text == "" {
		t.Skip("it is run by TestVM")
	}
	var c vmConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	home, err := DefaultHome()
	if err != nil {
		t.Fatal(err)
	}
	i := Instance{Tool: c.Tool, Home: home, Name: "fuseless", Env: c.Env}
	t.Cleanup(func() {
		if t.Failed() {
			for _, log := range []string{"ha.stderr.log", "serial.log"} {
				t.Logf("%s:\n%s", log, strings.Join(tailLines(i.file(log), 25), "\n"))
			}
		}
		if err := i.Delete(context.Background()); err != nil {
			t.Errorf("delete: %v", err)
		}
	})
	var seen strings.Builder
	converge := func(yaml []byte, want Action, o Options) func() error {
		return func() error {
			o.Timeout = c.Wait
			o.Progress = func(p Progress) {
				fmt.Fprintf(&seen, "%s: %s\n", p.Kind, p.Text)
				if p.Kind != CloudInit {
					fmt.Fprintf(os.Stderr, "  %s: %s\n", p.Kind, p.Text)
				}
			}
			got, err := i.Converge(t.Context(), yaml, o)
			if err == nil && got != want {
				err = fmt.Errorf("it did %q, not %q", got, want)
			}
			return err
		}
	}
	mustBe := func(want State) {
		t.Helper()
		got, err := i.Status(t.Context())
		if q := i.Quick(); err != nil || got != want || q != want {
			t.Fatalf("state %q, quickly %q, %v; want %q", got, q, err, want)
		}
	}
	mustBe(Absent)
	step(t, "create and start", converge(c.template("one"), Created, Options{}))
	mustBe(Running)
	if s := seen.String(); !strings.Contains(s, "cloud-init: provisioning says one\n") || !strings.Contains(s, "boot: waiting for ssh") {
		t.Errorf("the progress lacks something:\n%s", s)
	}
	step(t, "converge again: nothing", converge(c.template("one"), Nothing, Options{}))
	step(t, "connect", func() error { return i.Connect(t.Context()) })
	step(t, "state by limactl list", func() error { _, err := i.Status(t.Context()); return err })
	step(t, "state by the files", func() error { i.Quick(); return nil })
	step(t, "uname -a over ssh", func() error {
		out, err := proc.Output(t.Context(), proc.Cmd{Argv: i.SSH("uname", "-a")})
		t.Logf("%s", out)
		if err == nil && !bytes.HasPrefix(out, []byte("Linux lima-fuseless ")) {
			err = fmt.Errorf("got %q", out)
		}
		return err
	})
	step(t, "ten more commands", func() error {
		for range 10 {
			if err := proc.Run(t.Context(), proc.Cmd{Argv: i.SSH("true")}); err != nil {
				return err
			}
		}
		return nil
	})
	words := []string{"printf", "<%s>", "a b", "$HOME", "'", `"`, "*", "\n", ""}
	if out, err := proc.Output(t.Context(), proc.Cmd{Argv: i.SSH(words...)}); err != nil || string(out) != "<a b><$HOME><'><\"><*><\n><>" {
		t.Errorf("words arrive as %q, %v", out, err)
	}
	testForward(t, i)

	err = converge(c.template("two"), Nothing, Options{ViewLive: true})()
	if err == nil || !strings.Contains(err.Error(), "a view is open") {
		t.Errorf("with a live view: %v", err)
	}
	mustBe(Running)
	step(t, "restart with another rendering", converge(c.template("two"), Restarted, Options{}))
	if out, err := proc.Output(t.Context(), proc.Cmd{Argv: i.SSH("cat", "/etc/fact")}); err != nil || string(out) != "two\n" {
		t.Errorf("after the restart: %q, %v", out, err)
	}
	testForward(t, i)
	step(t, "stop", func() error { return i.Stop(t.Context()) })
	mustBe(Stopped)
	step(t, "delete", func() error { return i.Delete(t.Context()) })
	mustBe(Absent)
	if _, err := os.Lstat(home); err == nil {
		t.Errorf("%s is left", home)
	}
}
