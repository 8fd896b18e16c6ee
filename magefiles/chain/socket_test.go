package chain

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/rundir"
)

// The socket of a run that was killed goes from the VM, and no other.
func TestSocketsOfKilledRuns(t *testing.T) {
	c, home := vmChain(t, "")
	i, err := c.machine.at()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(i.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(home, "log")
	if err := os.WriteFile(filepath.Join(home, "ssh"), []byte("#!/bin/sh\necho \"$@\" >>"+log+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	dead := exec.Command("/bin/true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	killed := fmt.Sprintf(bridgeSocket, dead.Process.Pid)
	c.machine.takeBack(t.Context(), "photos", "/run/in/guest", []string{fmt.Sprintf(bridgeSocket, os.Getpid()), killed, "remote.sock", killed + "x"})
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var cancelled, removed []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "-O cancel") {
			cancelled = append(cancelled, line)
		}
		if strings.Contains(line, " rm -f ") {
			removed = append(removed, line)
		}
	}
	if len(cancelled) != 1 || !strings.Contains(cancelled[0], "/run/in/guest/"+killed+":") {
		t.Errorf("taken back: %q", cancelled)
	}
	if len(removed) != 1 || !strings.HasSuffix(removed[0], " rm -f -- /run/in/guest/"+killed+"\n") {
		t.Errorf("removed: %q", removed)
	}
}

// A run takes its socket out of the VM when it ends, and its own from here.
func TestBridgeLeavesTheVM(t *testing.T) {
	c, home := vmChain(t, "")
	t.Setenv("XDG_RUNTIME_DIR", "/dev/shm")
	i, err := c.machine.at()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(i.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(home, "log")
	script := "#!/bin/sh\necho \"$@\" >>" + log + "\ncase \"$*\" in *' rundir '*) echo /run/in/guest ;; esac\n"
	if err := os.WriteFile(filepath.Join(home, "ssh"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	c.machine.ready = true
	v, err := c.open(c.Config.Vaults[0])
	if err != nil {
		t.Fatal(err)
	}
	inGuest, stop, err := v.bridge(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf(bridgeSocket, os.Getpid())
	if inGuest != "/run/in/guest/"+name {
		t.Errorf("the socket in the guest is %s", inGuest)
	}
	stop()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "-O cancel -R "+inGuest+":") || !strings.Contains(string(b), " rm -f -- "+inGuest+"\n") {
		t.Errorf("it was not taken back: %s", b)
	}
	dir, err := rundir.Path(c.instance, v.Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", dir, err)
	}
}
