package chain

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"fuseless/guest/proto"
	"fuseless/magefiles/config"
	"fuseless/templates"
)

// vmChain is a chain for a VM that does not exist, in a home of its own.
func vmChain(t *testing.T, more string) (*Chain, string) {
	t.Helper()
	home, err := os.MkdirTemp("", "fl-") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	t.Setenv("HOME", home)
	t.Setenv("PATH", home)
	file := filepath.Join(home, "fuseless.yaml")
	c, err := config.Parse(file, []byte("guest: lima\n"+more+"vaults: {photos: {source: ~/Pictures, destination: 'nas:p'}}\n"), []string{"HOME=" + home})
	if err != nil {
		t.Fatal(err)
	}
	return New(c, false), home
}

// What the guest says about its own paths is shown with the host's.
func TestPathsOfTheHost(t *testing.T) {
	c, home := vmChain(t, "")
	source := filepath.Join(home, "Pictures")
	text := "cannot read " + templates.MountPoint(source) + "/a b: no; and " + templates.RestorePoint + "/x"
	want := "cannot read " + source + "/a b: no; and " + filepath.Join(home, "fuseless-restore") + "/x"
	if got := c.machine.hostPaths(text); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var got proto.Event
	c.machine.translated(func(e proto.Event) { got = e })(proto.Event{Text: text, Hint: text})
	if got.Text != want || got.Hint != want {
		t.Errorf("event: %+v", got)
	}
	v, err := c.open(c.Config.Vaults[0])
	if err != nil {
		t.Fatal(err)
	}
	if req := v.request(proto.OpBackup); req.Source != templates.MountPoint(source) || !req.Mounted {
		t.Errorf("the request names %q, mounted %v", req.Source, req.Mounted)
	}
}

// Looking starts no VM, and needs none.
func TestLookingStartsNoVM(t *testing.T) {
	c, home := vmChain(t, "")
	for _, op := range passive {
		err := c.do(context.Background(), proto.Request{Op: op}, func(proto.Event) {})
		if op == proto.OpSession {
			if proto.CodeOf(err) != proto.Serve {
				t.Errorf("%s: %v", op, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
	if s := c.vmStatus(); s == nil || s.Name != "fuseless" || s.State != "absent" {
		t.Errorf("the VM's status is %+v", s)
	}
	if _, err := os.Stat(filepath.Join(home, ".fuseless-lima")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a LIMA_HOME was made: %v", err)
	}
}

// Lima would make a source that is missing, and an empty one would be backed up.
func TestMissingSourceIsNotMade(t *testing.T) {
	real := packedGuest
	packedGuest = func(context.Context, string) ([]byte, error) { return []byte("the guest binary"), nil }
	defer func() { packedGuest = real }()
	c, home := vmChain(t, "")
	i, err := c.machine.at()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(home, "Pictures")
	for _, there := range []bool{false, true} {
		if there {
			if err := os.Mkdir(source, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		yaml, err := c.machine.rendering(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(templates.WithoutGuest(yaml)), source); got != there {
			t.Errorf("the source is there: %v; it is in the description: %v", there, got)
		}
	}
}

func TestRootHasNoVM(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it needs to be root")
	}
	c, _ := vmChain(t, "")
	err := c.Up(context.Background())
	if proto.CodeOf(err) != proto.Prerequisite || !strings.Contains(err.Error(), "root") {
		t.Errorf("%v", err)
	}
}

func TestNoVMWithoutLima(t *testing.T) {
	c, err := config.Parse("/x/fuseless.yaml", []byte("guest: local\nvaults: {p: {destination: 'nas:p'}}\n"), []string{"HOME=/h"})
	if runtime.GOOS != "linux" {
		t.Skip("guest: local needs Linux")
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(*Chain) error{
		"up":      func(c *Chain) error { return c.Up(context.Background()) },
		"render":  func(c *Chain) error { return c.Render(context.Background(), os.Stderr) },
		"destroy": func(c *Chain) error { return c.Destroy(context.Background(), true) },
		"shell":   func(c *Chain) error { return c.Shell(context.Background()) },
		"logs":    func(c *Chain) error { return c.Logs(context.Background(), os.Stderr) },
	} {
		if err := f(New(c, false)); proto.CodeOf(err) != proto.Config || !strings.Contains(err.Error(), "guest: lima") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLogsOfAGuestCannotDriveATerminal(t *testing.T) {
	if got := printable("a\x1b]0;x\x07b\r\tc\u009bd"); got != "a]0;xb\tcd" {
		t.Errorf("%q", got)
	}
}
