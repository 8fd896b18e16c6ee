//go:build linux

package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/proto"
)

// standInDir is the variable that makes the test binary a stand-in for
// fuseless-guest: the real one runs below it, and it hands on the events, so
// that a signal can be sent at each of them. The product knows nothing of it:
// it is put into the cache in the place of the guest.
const standInDir = "STANDIN_DIR"

func init() {
	if dir := os.Getenv(standInDir); dir != "" {
		os.Exit(standInMain(dir))
	}
}

// The receivers of a signal.
const (
	toTarget = "target"            // the process that runs the target
	toGuest  = "guest"             // fuseless-guest
	toMage   = "mage"              // `go tool mage`, alone
	toGroup  = "the process group" // go, mage and the target
)

// shot is a signal that is sent at an event.
type shot struct {
	Event  string         // as eventName has it
	Signal syscall.Signal // 0: none
	To     string
}

// eventName names an event; of those of one name the first counts, but for
// steps, which have a number of their own from the second on.
func eventName(e proto.Event, count map[string]int) (name string, first bool) {
	switch e.Kind {
	case proto.KindStep:
		name = string(e.Step) + " begins"
		if e.Done {
			name = string(e.Step) + " done"
		}
	case proto.KindResult:
		name = "result of a "
		switch {
		case e.Backup != nil:
			name += "backup"
		case e.Restore != nil:
			name += "restore"
		case e.Look != nil:
			name += "look"
		case e.Status != nil:
			name += "status"
		default:
			name += "request"
		}
	default:
		name = string(e.Kind)
	}
	count[name]++
	if n := count[name]; n > 1 {
		return fmt.Sprintf("%s, %d", name, n), e.Kind == proto.KindStep
	}
	return name, true
}

// standIn replaces the guest in the lab's cache.
func (l *lab) standIn() {
	l.t.Helper()
	self, err := os.Executable()
	must(l.t, err)
	dir := l.path("standin")
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		l.t.Fatal(err)
	}
	l.inPlaceOfGuest(func(p string) {
		if _, err := os.Stat(p + ".real"); err == nil {
			return
		}
		must(l.t, os.Rename(p, p+".real"))
		must(l.t, os.WriteFile(p, fmt.Appendf(nil, "#!/bin/sh\n%s=%q exec %q \"$0.real\" \"$@\"\n", standInDir, dir, self), 0o755))
	})
}

// inPlaceOfGuest calls put with each guest in the lab's cache.
func (l *lab) inPlaceOfGuest(put func(file string)) {
	l.t.Helper()
	n := 0
	for _, p := range filesBelow(filepath.Join(l.home, ".cache", "fuseless", "guest")) {
		fi, err := os.Lstat(p)
		must(l.t, err)
		if !fi.Mode().IsRegular() || fi.Mode().Perm() != 0o755 || strings.HasSuffix(p, ".real") {
			continue
		}
		n++
		put(p)
	}
	if n == 0 {
		l.t.Fatal("there is no guest in the cache")
	}
}

// plan says what is to happen in the next call, and forgets what happened.
func (l *lab) plan(s shot) {
	l.t.Helper()
	dir := l.path("standin")
	_ = os.Remove(filepath.Join(dir, "events"))
	_ = os.Remove(filepath.Join(dir, "fired"))
	b, err := json.Marshal(s)
	must(l.t, err)
	must(l.t, os.WriteFile(filepath.Join(dir, "plan"), b, 0o600))
}

// events are the names of the events of the last call, in order.
func (l *lab) events() []string {
	l.t.Helper()
	b, err := os.ReadFile(filepath.Join(l.path("standin"), "events"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	var names []string
	for s := range strings.Lines(string(b)) {
		names = append(names, strings.TrimSpace(s))
	}
	return names
}

// fired says whether the planned signal was sent.
func (l *lab) fired() bool {
	_, err := os.Stat(filepath.Join(l.path("standin"), "fired"))
	return err == nil
}

// standInMain runs the guest that os.Args names.
func standInMain(dir string) int {
	var s shot
	if b, err := os.ReadFile(filepath.Join(dir, "plan")); err == nil {
		_ = json.Unmarshal(b, &s)
	}
	log, err := os.OpenFile(filepath.Join(dir, "events"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 99
	}
	// A call may send several requests.
	count := map[string]int{}
	before, _ := io.ReadAll(log)
	for name := range strings.Lines(string(before)) {
		name, _, _ = strings.Cut(strings.TrimSpace(name), ",")
		count[name]++
	}
	c := exec.Command(os.Args[1], os.Args[2:]...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, standInDir+"=") {
			c.Env = append(c.Env, kv)
		}
	}
	c.Stdin, c.Stderr = os.Stdin, os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return 99
	}
	if err := c.Start(); err != nil {
		return 99
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // its target may be killed
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var e proto.Event
		name, first := "?", false
		if json.Unmarshal(line, &e) == nil {
			name, first = eventName(e, count)
		}
		fmt.Fprintln(log, name)
		fire := first && s.Signal != 0 && name == s.Event
		if fire {
			fire = os.WriteFile(filepath.Join(dir, "fired"), nil, 0o600) == nil
			// So that it is at this event, and not a little behind it.
			_ = c.Process.Signal(syscall.SIGSTOP)
		}
		_, _ = os.Stdout.Write(line)
		if fire {
			s.fire(c.Process)
		}
	}
	_ = c.Wait()
	if c.ProcessState.ExitCode() < 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return c.ProcessState.ExitCode()
}

// fire sends the signal, and lets the guest go on when it can know of it.
func (s shot) fire(guest *os.Process) {
	target := os.Getppid()
	_, mage := stat(target)
	_, command := stat(mage)
	group, _ := syscall.Getpgid(target)
	switch s.To {
	case toGuest:
		_ = guest.Signal(s.Signal)
		return
	case toTarget:
		_ = syscall.Kill(target, s.Signal)
	case toMage:
		_ = syscall.Kill(command, s.Signal)
	case toGroup:
		_ = syscall.Kill(-group, s.Signal)
	}
	if !s.unheard() {
		fds := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}} // closed when it is to end
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
			if n, err := unix.Poll(fds, 1000); err == nil && n > 0 {
				break
			}
		}
	}
	_ = guest.Signal(syscall.SIGCONT)
}

// unheard: go hands SIGINT on to mage, and mage ignores it, for it takes it to be
// of a terminal, which sends it to the target, too.
func (s shot) unheard() bool { return s.To == toMage && s.Signal == syscall.SIGINT }
