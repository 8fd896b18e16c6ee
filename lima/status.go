package lima

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// State is the condition of an instance.
type State string

// The states.
const (
	Absent   State = "absent"
	Stopped  State = "stopped"
	Starting State = "starting" // it runs, and is not ready yet
	Running  State = "running"  // and it was ready
	Degraded State = "degraded" // it runs, and a probe or a mount failed
	Broken   State = "broken"   // only a part of it runs
	Hung     State = "hung"     // it runs, and does not answer; only who asked it knows
)

// Status is an instance's state as `limactl list` has it, made finer by the
// host agent's own events. It takes up to a second: limactl reads the whole
// template. See Quick.
func (i Instance) Status(ctx context.Context) (State, error) {
	if err := i.check(); err != nil {
		return "", err
	}
	if _, err := os.Stat(i.Home); errors.Is(err, os.ErrNotExist) {
		return Absent, nil // limactl would make it
	}
	i.removeStalePIDs()
	out, err := i.limactl(ctx, nil, nil, "list", "--json")
	if err != nil {
		return "", proto.Errorf(failed, "ask for the state of the VM: %w", err)
	}
	list, err := parseList(out)
	if err != nil {
		return "", proto.Errorf(proto.Internal, "limactl list: %w", err)
	}
	for _, l := range list {
		if l.Name != i.Name {
			continue
		}
		switch l.Status {
		case "Stopped", "Uninitialized", "Installing":
			return Stopped, nil
		case "Running":
			return i.readiness(), nil
		}
		return Broken, nil
	}
	return Absent, nil
}

// listed is a line of `limactl list --json`, as far as it is needed.
type listed struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Dir    string `json:"dir"`
}

// parseList reads the output of `limactl list --json`: one object a line.
func parseList(out []byte) ([]listed, error) {
	var list []listed
	dec := json.NewDecoder(bytes.NewReader(out))
	for dec.More() {
		var l listed
		if err := dec.Decode(&l); err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

// Quick is the state without asking limactl, from the files in the instance's
// folder: some milliseconds. It does not see a VM process that hangs.
func (i Instance) Quick() State {
	if _, err := os.Stat(i.file("lima.yaml")); err != nil {
		return Absent
	}
	agent, driver := i.process("ha.pid"), i.process("qemu.pid") || i.process("vz.pid") || i.process("krunkit.pid")
	switch {
	case agent && driver:
		// The agent's socket answers only while it lives.
		c, err := net.DialTimeout("unix", i.file("ha.sock"), time.Second)
		if err != nil {
			if i.readiness() == Starting {
				return Starting // it is not listening yet
			}
			return Broken
		}
		c.Close()
		return i.readiness()
	case agent && i.readiness() == Starting:
		return Starting // the driver comes after the agent
	case agent || driver:
		return Broken
	}
	return Stopped
}

// readiness is what the host agent of a running instance said last.
func (i Instance) readiness() State {
	f, err := os.Open(i.file("ha.stdout.log"))
	if err != nil {
		return Starting
	}
	defer f.Close()
	state := Starting
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if e, ok := parseEvent(sc.Bytes()); ok && e.Status.Running {
			state = Running
			if e.Status.Degraded {
				state = Degraded
			}
		}
	}
	return state
}

// process tells whether the process that a pid file of the instance names
// lives, and is the instance's own.
func (i Instance) process(pidFile string) bool {
	b, err := os.ReadFile(i.file(pidFile))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	command, err := commandOf(pid)
	if err != nil {
		return true // nothing known against it
	}
	// The host agent and QEMU have the instance's files among their arguments,
	// as Lima writes them: without symbolic links.
	real, err := filepath.EvalSymlinks(i.Dir())
	return strings.Contains(command, i.Dir()+"/") || err == nil && strings.Contains(command, real+"/")
}

// commandOf is the command line of a process.
func commandOf(pid int) (string, error) {
	if runtime.GOOS == "linux" {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})), err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	b, err := proc.Output(ctx, proc.Cmd{Argv: []string{"ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)}})
	return string(b), err
}

// removeStalePIDs removes the pid files of processes that are gone. After a
// power failure such a pid may be another process's by now, which limactl
// would take for the VM, and kill.
func (i Instance) removeStalePIDs() {
	files, _ := filepath.Glob(i.file("*.pid"))
	for _, f := range files {
		if !i.process(filepath.Base(f)) {
			_ = os.Remove(f)
		}
	}
}
