package chain

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/proto"
	"fuseless/magefiles/guestrun"
)

// hungVM is a chain for a VM that runs, as far as files and processes tell, and
// whose ssh is a stubborn one: the shared connection is there, and nothing comes
// over it. own is what a new one does. Two vaults are in it.
func hungVM(t *testing.T, own string) *Chain {
	t.Helper()
	every, limit := askEvery, answerTime
	if every+limit > 5*time.Second { // the host's mount, and the end of the VM, need the rest of ten
		t.Errorf("a VM may be silent for %v", every+limit)
	}
	askEvery, answerTime = every/5, limit/5
	t.Cleanup(func() { askEvery, answerTime = every, limit })
	c, home := vmChain(t, "")
	second := c.Config.Vaults[0]
	second.Name = "papers"
	c.Config.Vaults = append(c.Config.Vaults, second)
	ssh := "#!/bin/sh\ncase \"$*\" in *'-O check'*) exit 0 ;; *ControlPath=none*) " + own + " ;; esac\nexec /bin/sleep 600\n"
	if err := os.WriteFile(filepath.Join(home, "ssh"), []byte(ssh), 0o700); err != nil {
		t.Fatal(err)
	}
	i, err := c.machine.at()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(i.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	agent := exec.Command("/bin/sh", "-c", "read x", i.Dir()+"/agent")
	in, err := agent.StdinPipe()
	if err == nil {
		err = agent.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = agent.Wait() })
	pid := strconv.Itoa(agent.Process.Pid)
	for name, text := range map[string]string{
		"lima.yaml": "", "ha.pid": pid, "qemu.pid": pid, "ha.stdout.log": `{"time":"2026-11-28T12:00:00Z","status":{"running":true}}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(i.Dir(), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", filepath.Join(i.Dir(), "ha.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if s := i.Quick(); s != "running" {
		t.Fatalf("the VM is %s", s)
	}
	return c
}

// What looks, or takes down, ends soon where the VM hangs, and says so.
func TestHungVM(t *testing.T) {
	for name, f := range map[string]func(*Chain, *vault) error{
		"status":        func(c *Chain, v *vault) error { _, err := v.vaultStatus(t.Context()); return err },
		"remoteUnmount": func(c *Chain, v *vault) error { return v.remoteUnmount(t.Context()) },
		"unserve":       func(c *Chain, v *vault) error { return v.unserve(t.Context()) },
		"down, of vaults": func(c *Chain, v *vault) error {
			return c.down(t.Context(), c.Config.Vaults, false)
		},
		"down, before the VM is stopped": func(c *Chain, v *vault) error {
			go c.machine.probe(t.Context())
			if err := c.down(t.Context(), c.Config.Vaults, true); err != nil {
				t.Errorf("down: %v", err)
			}
			if !c.machine.hangs(t.Context()) {
				t.Error("it is not known that the VM hangs")
			}
			return c.machine.silence()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := hungVM(t, "exec /bin/sleep 600")
			v, err := c.open(c.Config.Vaults[0])
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			err = f(c, v)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			if proto.CodeOf(err) != proto.Guest || !strings.Contains(err.Error(), "the VM fuseless does not answer") || !strings.Contains(err.Error(), "fuseless down") {
				t.Errorf("it says %v", err)
			}
			begin = time.Now() // once is enough
			if _, err := v.vaultStatus(t.Context()); proto.CodeOf(err) != proto.Guest || time.Since(begin) > time.Second {
				t.Errorf("the second question: %v, after %v", err, time.Since(begin))
			}
		})
	}
}

// `status` says what is wrong with the VM.
func TestStatusOfHungVM(t *testing.T) {
	c := hungVM(t, "exit 255") // as where something in front of it still listens
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = in
	err = c.Status(t.Context(), true)
	os.Stdout = stdout
	in.Close()
	var doc StatusDocument
	if jerr := json.NewDecoder(out).Decode(&doc); jerr != nil {
		t.Fatal(jerr)
	}
	if proto.CodeOf(err) != proto.Guest || doc.VM == nil || doc.VM.State != "hung" || len(doc.Vaults) != 2 || doc.Vaults[1].Error == "" {
		t.Errorf("%v: %+v", err, doc)
	}
}

// A guest that is gone is not given time to clean up; one that is there is.
func TestGuestThatIsGone(t *testing.T) {
	gone := proto.Errorf(proto.Guest, "gone")
	g := guestrun.Guest{Argv: []string{"/bin/sleep", "600"}, Remote: true}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(gone) })
	begin := time.Now()
	if err := g.Do(ctx, proto.Request{}, nil); err != gone || time.Since(begin) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	// ssh hands its output to the shared connection, which lives on.
	holds := filepath.Join(t.TempDir(), "pid")
	g.Argv = []string{"/bin/sh", "-c", `setsid /bin/sh -c 'echo $$ >"$0.new"; mv "$0.new" "$0"; exec sleep 20' "$0" & sleep 600`, holds}
	ctx, cancel = context.WithCancelCause(t.Context())
	go func() {
		for holder(holds) == 0 {
			time.Sleep(10 * time.Millisecond) // it belongs to no process of ours
		}
		begin = time.Now()
		cancel(gone)
	}()
	if err := g.Do(ctx, proto.Request{}, nil); err != gone || time.Since(begin) > 5*time.Second {
		t.Errorf("with its output held by another, after %v: %v", time.Since(begin), err)
	}
	if pid := holder(holds); pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	g.Argv = []string{"/bin/sh", "-c", "while read x; do :; done; sleep 0.2; exit 3"}
	ctx, cancel = context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(nil) })
	begin = time.Now()
	if err := g.Do(ctx, proto.Request{}, nil); proto.CodeOf(err) != proto.Interrupted || time.Since(begin) < 200*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

// holder is the pid in a file; 0 if it is not there.
func holder(file string) int {
	b, _ := os.ReadFile(file)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}
