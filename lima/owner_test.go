package lima

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/proto"
	"fuseless/templates"
)

// withGuest is a rendering with a guest binary behind it.
func withGuest(t *testing.T, guest string) []byte {
	t.Helper()
	yaml, err := templates.Render(templates.VM{HostOS: "linux", Arch: "amd64", Guest: []byte(guest)})
	if err != nil {
		t.Fatal(err)
	}
	return yaml
}

func TestVMOfAnotherConfiguration(t *testing.T) {
	i, log := faked(t)
	mine, other := filepath.Join(i.Home, "mine.yaml"), filepath.Join(i.Home, "other.yaml")
	for _, f := range []string{mine, other} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	i.Owner = mine
	if _, err := i.Converge(t.Context(), withGuest(t, "one"), Options{}); err != nil {
		t.Fatal(err)
	}
	calls(log)
	i.Owner = other
	_, err := i.Converge(t.Context(), withGuest(t, "two"), Options{})
	if proto.CodeOf(err) != proto.Config || !strings.Contains(err.Error(), mine) || !strings.Contains(err.Error(), "name:") {
		t.Errorf("another's VM: %v", err)
	}
	for _, f := range []func() error{func() error { return i.Stop(t.Context()) }, func() error { return i.Delete(t.Context()) }} {
		if err := f(); proto.CodeOf(err) != proto.Config {
			t.Errorf("another's VM: %v", err)
		}
	}
	if c := calls(log); c != "" {
		t.Errorf("limactl was called: %s", c)
	}
	// A configuration that was moved keeps its VM.
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	if a, err := i.Converge(t.Context(), withGuest(t, "one"), Options{}); err != nil || a != Nothing {
		t.Errorf("after the configuration moved: %s, %v", a, err)
	}
}

func TestGuestBinaryIsInstalledOnce(t *testing.T) {
	i, _ := faked(t)
	unused := func() ([]byte, error) { t.Error("the guest binary was asked for"); return nil, os.ErrInvalid }
	if _, err := i.Converge(t.Context(), withGuest(t, "one"), Options{}); err != nil {
		t.Fatal(err)
	}
	if done, err := i.InstallGuest(t.Context(), withGuest(t, "one"), unused); done || err != nil {
		t.Errorf("after the boot that installed it: %v, %v", done, err)
	}
	if a, err := i.Converge(t.Context(), withGuest(t, "two"), Options{}); err != nil || a != Nothing {
		t.Fatalf("another binary alone: %s, %v", a, err)
	}
	asked := false
	_, err := i.InstallGuest(t.Context(), withGuest(t, "two"), func() ([]byte, error) { asked = true; return nil, os.ErrInvalid })
	if !asked || err == nil {
		t.Errorf("another binary: asked %v, %v", asked, err)
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, err := i.Converge(t.Context(), withGuest(t, "two"), Options{}); err != nil || a != Started {
		t.Fatalf("the next boot: %s, %v", a, err)
	}
	if done, err := i.InstallGuest(t.Context(), withGuest(t, "two"), unused); done || err != nil {
		t.Errorf("after the next boot: %v, %v", done, err)
	}
}

func TestDiskOfAnExistingVM(t *testing.T) {
	i, _ := faked(t)
	render := func(vm templates.VM) []byte {
		vm.HostOS, vm.Arch, vm.Guest = "linux", "amd64", []byte("x")
		yaml, err := templates.Render(vm)
		if err != nil {
			t.Fatal(err)
		}
		return yaml
	}
	if _, err := i.Converge(t.Context(), render(templates.VM{}), Options{}); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		vm   templates.VM
		want bool
	}{
		"memory": {templates.VM{MemoryMiB: 2048}, false},
		"disk":   {templates.VM{DiskGiB: 20}, true},
		"image":  {templates.VM{Images: []templates.Image{{Location: "/i"}}}, true},
	} {
		if a, err := i.Converge(t.Context(), render(c.vm), Options{}); err != nil || a != Restarted {
			t.Errorf("another %s: %s, %v", what, a, err)
		}
		if got := i.DiskChanged(render(c.vm)); got != c.want {
			t.Errorf("another %s: the disk changed: %v", what, got)
		}
	}
}

// A description without limactl is only for looking.
func TestNothingIsStartedWithoutLimactl(t *testing.T) {
	i, log := faked(t)
	i.Tool = Tool{}
	if _, err := i.Converge(t.Context(), withGuest(t, "one"), Options{}); proto.CodeOf(err) != proto.Internal {
		t.Errorf("%v", err)
	}
	if p := i.Plan(withGuest(t, "one")); p != Created {
		t.Errorf("the plan is %s", p)
	}
	if c := calls(log); c != "" {
		t.Errorf("limactl was called: %s", c)
	}
}

// An image that is not to be had: the message, and nothing half-made.
func TestCreateFails(t *testing.T) {
	i, log := faked(t)
	for _, how := range []string{".create.fails", ".create.half"} {
		if err := os.WriteFile(log+how, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := i.Converge(t.Context(), withGuest(t, "one"), Options{})
		if e := codeAndHint(t, err, failed); !strings.Contains(e.Hint, "image") {
			t.Errorf("%s: %v", how, err)
		}
		for _, left := range []string{i.Dir(), i.intent()} {
			if _, err := os.Lstat(left); err == nil {
				t.Errorf("%s: %s is left", how, left)
			}
		}
		_ = os.Remove(log + how)
	}
	calls(log)
	if a, err := i.Converge(t.Context(), withGuest(t, "one"), Options{}); err != nil || a != Created {
		t.Errorf("after that: %s, %v", a, err)
	}
}
