//go:build linux

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/mounts"
	"fuseless/guest/proto"
)

// signalsVariable set to "all" makes TestSignals run the whole matrix, each
// signal to each receiver at each event, which takes most of an hour.
const signalsVariable = "SIGNALS"

// receivers are all the ways to stop a run. SIGKILL to the group would spare
// only the guest, as to the target does.
var receivers = []shot{
	{Signal: syscall.SIGINT, To: toTarget}, {Signal: syscall.SIGKILL, To: toMage}, {Signal: syscall.SIGKILL, To: toTarget},
	{Signal: syscall.SIGTERM, To: toGroup}, {Signal: syscall.SIGTERM, To: toTarget}, {Signal: syscall.SIGHUP, To: toMage},
	{Signal: syscall.SIGKILL, To: toGuest}, {Signal: syscall.SIGINT, To: toGroup}, {Signal: syscall.SIGHUP, To: toTarget},
	{Signal: syscall.SIGTERM, To: toMage}, {Signal: syscall.SIGINT, To: toMage}, {Signal: syscall.SIGHUP, To: toGroup},
}

// stopped is a target that is stopped at each of its events.
type stopped struct {
	name    string
	args    []string
	prepare func(l *lab) // before each case
	check   func(l *lab) // after the target has been run again
}

// unemitted are the steps that no target of the matrix emits here, and why.
var unemitted = map[proto.Step]string{
	proto.StepKey:     "passwd and recover ask on a terminal; their own tests stop them",
	proto.StepInstall: "as StepKey",
}

var stoppedTargets = []stopped{
	{name: "init", args: []string{"init"},
		prepare: func(l *lab) {
			must(l.t, os.RemoveAll(l.keyFile()))
			must(l.t, os.RemoveAll(filepath.Join(l.home, ".local")))
			must(l.t, os.RemoveAll(filepath.Join(l.remote, "backup")))
		},
		check: func(l *lab) {
			l.ok("backup") // with the key that is there now
			l.vaultIsSource()
		}},
	{name: "backup", args: []string{"backup"}, prepare: prepareBackup, check: (*lab).vaultIsSource},
	{name: "restore", args: []string{"restore"}, prepare: prepareRestore, check: checkRestore},
	{name: "restore -only", args: []string{"restore", "-only=/folder 1"}, prepare: prepareRestore, check: func(l *lab) {
		if n := len(filesBelow(l.path("to"))); n < 8 {
			l.t.Errorf("restored are %d entries of a folder with ten files", n)
		}
	}},
	{name: "verify", args: []string{"verify", "-data"}, prepare: func(*lab) {}, check: (*lab).vaultIsSource},
	{name: "verify -full", args: []string{"verify", "-full"}, prepare: func(*lab) {}, check: (*lab).vaultIsSource},
	{name: "open", args: []string{"remoteMount", "serve"}, prepare: func(l *lab) {}, check: func(l *lab) {
		s := l.status()
		if s.Remote == nil || !s.Remote.Alive || s.View == nil || !s.View.Alive || s.Server == nil {
			l.t.Fatalf("it is not up: %s", mustJSON(l.t, s))
		}
		l.judge(snapshot(l.t, l.source), snapshot(l.t, s.View.Path), "forward", "sshfs")
		l.ok("close")
	}},
	{name: "unserve", args: []string{"unserve"}, prepare: prepareView, check: func(l *lab) { l.ok("close") }},
	{name: "remoteUnmount", args: []string{"remoteUnmount"}, prepare: func(l *lab) { l.ok("remoteMount") }, check: func(*lab) {}},
	{name: "close", args: []string{"close"}, prepare: prepareView, check: func(*lab) {}},
	{name: "down", args: []string{"down"}, prepare: prepareView, check: func(*lab) {}},
}

func prepareView(l *lab) { l.ok("remoteMount", "serve") }

func prepareRestore(l *lab) {
	l.own["to"+".fuseless-restoring"] = true
	for _, p := range []string{l.path("to"), l.path("to") + ".fuseless-restoring"} {
		must(l.t, os.RemoveAll(p))
	}
}

func checkRestore(l *lab) { l.judge(snapshot(l.t, l.source), snapshot(l.t, l.path("to")), "forward") }

// prepareBackup makes all there is to do for a backup: something new, changed,
// deleted, an old folder in the trash, and the folder of a run that was killed.
func prepareBackup(l *lab) {
	l.round++
	l.write(fmt.Sprintf("folder 0/new %d", l.round), "new")
	l.write("folder 1/file 1", fmt.Sprint("changed ", l.round))
	if l.round > 1 {
		l.remove(fmt.Sprintf("folder 0/new %d", l.round-1))
	} else {
		l.remove("folder 0/file 3")
	}
	must(l.t, os.MkdirAll(filepath.Join(l.trash, "20200101T000000000Z", "old"), 0o700))
	l.aged("20200101T000000000Z")
	must(l.t, os.MkdirAll(filepath.Join(l.runDir(), "run-1", "image1"), 0o700))
}

// vaultIsSource compares the vault, decrypted by gocryptfs alone, with the
// source.
func (l *lab) vaultIsSource() {
	l.t.Helper()
	view, err := os.MkdirTemp("/dev/shm", "fv-")
	must(l.t, err)
	defer os.Remove(view)
	c := exec.Command("gocryptfs", "-fg", "-q", "-ro", "-passfile", l.passFile(), "--", l.vault, view)
	must(l.t, c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	must(l.t, mounts.Wait(context.Background(), view, ended))
	defer func() {
		// The kernel hands files back to a FUSE process a little after they are closed.
		if _, err := mounts.Unmount(context.Background(), view, 10*time.Second); err != nil {
			l.t.Error(err)
		}
		<-ended
	}()
	l.judge(snapshot(l.t, l.source), snapshot(l.t, view), "forward")
}

// magefiles is a folder for what mage compiles, once for all labs.
var mageCache struct {
	sync.Once
	dir, root string
	env       []string
}

// byMage is a call of a target by `go tool mage`.
func (l *lab) byMage(ctx context.Context, args ...string) *exec.Cmd {
	l.t.Helper()
	m := &mageCache
	m.Do(func() {
		out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOMOD").Output()
		must(l.t, err)
		f := strings.Fields(string(out))
		m.root = filepath.Dir(f[2])
		m.dir = filepath.Join(filepath.Dir(fuseless), "mage")
		// HASHFAST: what was compiled for the sources as they are is used again.
		m.env = []string{"GOCACHE=" + f[0], "GOMODCACHE=" + f[1], "GOTELEMETRY=off", "MAGEFILE_CACHE=" + m.dir, "MAGEFILE_HASHFAST=1"}
		c := exec.Command("go", "tool", "mage", "nosuchtarget")
		c.Dir, c.Env = m.root, append(os.Environ(), m.env...)
		_ = c.Run() // compiles
	})
	c := l.command(ctx, append([]string{"tool", "mage"}, args...)...)
	var err error
	c.Path, err = exec.LookPath("go")
	must(l.t, err)
	c.Args[0] = "go"
	c.Dir = m.root
	c.Env = append(c.Env, m.env...)
	c.Env = append(c.Env, "FUSELESS_CONFIG="+l.configFile(), "XDG_CONFIG_HOME="+l.path("config"))
	return c
}

// TestSignals stops targets by each signal, sent to each receiver, at each
// event that the guest emits; then the same target again must succeed, and
// leave the right result, and nothing else.
func TestSignals(t *testing.T) {
	all := os.Getenv(signalsVariable) == "all"
	var mu sync.Mutex
	emitted := map[proto.Step]bool{}
	cases, kinds := 0, map[shot]int{}
	begun := time.Now()
	t.Run("targets", func(t *testing.T) {
		for i, s := range stoppedTargets {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				l := newLab(t).started()
				l.standIn()
				s.prepareArgs(l)
				c := l.byMage(t.Context(), "status")
				if out, err := c.CombinedOutput(); err != nil { // makes its guest
					t.Fatalf("go tool mage status: %v: %s", err, out)
				}
				l.standIn()
				events := s.record(l)
				mu.Lock()
				for _, e := range events {
					for _, step := range proto.Steps {
						emitted[step] = emitted[step] || strings.HasPrefix(e, string(step)+" ")
					}
				}
				mu.Unlock()
				for n, e := range events {
					chosen := receivers
					if !all { // each event by one signal, each signal at some events
						n += i * 5
						chosen = receivers[n%len(receivers) : n%len(receivers)+1]
					}
					for _, r := range chosen {
						r.Event = e
						t.Run(fmt.Sprintf("%s/%v to %s", e, r.Signal, r.To), func(t *testing.T) {
							defer func(was *testing.T) { l.t = was }(l.t)
							l.t = t
							s.stop(l, r)
						})
						mu.Lock()
						cases++
						r.Event = ""
						kinds[r]++
						mu.Unlock()
					}
				}
			})
		}
	})
	for _, s := range proto.Steps {
		why, listed := unemitted[s]
		if emitted[s] == listed {
			t.Errorf("step %q: emitted by a target of the matrix: %v; listed as an exception: %v (%s)", s, emitted[s], listed, why)
		}
	}
	if len(kinds) != len(receivers) {
		t.Errorf("only %d of %d ways to stop a target were used", len(kinds), len(receivers))
	}
	if !t.Failed() {
		fmt.Printf("signals: %d cases, %d ways to stop, all recovered, %s\n", cases, len(kinds), time.Since(begun).Round(time.Second))
	}
}

// prepareArgs adds what is known only with a lab.
func (s *stopped) prepareArgs(l *lab) {
	if s.args[0] == "restore" {
		s.args = append(slices.Clone(s.args), "-to="+l.path("to"))
	}
}

// record runs the target once and gives the names of its events, each once.
func (s stopped) record(l *lab) (names []string) {
	l.t.Helper()
	s.prepare(l)
	l.plan(shot{})
	l.ok(s.args...)
	s.check(l)
	seen := map[string]bool{}
	l.plan(shot{})
	s.prepare(l)
	l.plan(shot{})
	l.ok(s.args...)
	for _, e := range l.events() {
		kind, _, more := strings.Cut(e, ",")
		step := strings.HasSuffix(kind, " begins") || strings.HasSuffix(kind, " done")
		if !seen[e] && (step || !more) {
			names = append(names, e)
		}
		seen[e] = true
	}
	if len(names) == 0 {
		l.t.Fatal("it emits no event")
	}
	l.plan(shot{})
	s.check(l)
	return names
}

// stop stops the target, and runs it again.
func (s stopped) stop(l *lab, r shot) {
	l.t.Helper()
	l.plan(shot{})
	s.prepare(l)
	l.plan(r)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := l.command(ctx, s.args...)
	if r.To == toMage || r.To == toGroup {
		c = l.byMage(ctx, s.args...)
	}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	err := c.Run() // it waits for all that write to stderr, and so for the target
	if ctx.Err() != nil {
		l.t.Fatalf("it does not end: %s", stderr.String())
	}
	if !l.fired() {
		l.t.Fatalf("the event does not come: %q: %v: %s", l.events(), err, stderr.String())
	}
	r.judge(l, exitCode(l.t, err), stderr.String())
	l.plan(shot{})
	l.ok(s.args...)
	s.check(l)
	for _, p := range lasting(l.left) {
		l.t.Error("left: ", p)
	}
}

// judge judges how the call ended. What `go tool mage` returns is mage's.
func (r shot) judge(l *lab, code proto.Code, stderr string) {
	l.t.Helper()
	says := ""
	switch {
	case r.To == toTarget && r.Signal == syscall.SIGKILL:
		if code != -1 {
			l.t.Errorf("killed, it ends with %d: %s", code, stderr)
		}
	case r.To == toGuest:
		if code == proto.OK {
			return // it had done everything when it was killed; whether that is so, the caller sees
		}
		says = "the guest ended without a word"
		if code != proto.Internal {
			l.t.Errorf("without its guest it ends with %d: %s", code, stderr)
		}
	case r.unheard():
		if code != proto.OK {
			l.t.Errorf("what it does not hear of ends it with %d: %s", code, stderr)
		}
	case r.To == toTarget:
		says = "hint: "
		if code != proto.Interrupted {
			l.t.Errorf("interrupted, it ends with %d: %s", code, stderr)
		}
		fallthrough
	case r.To == toGroup:
		if !strings.Contains(stderr, "interrupted") {
			l.t.Errorf("it does not say that it was interrupted: %s", stderr)
		}
	default:
		says = "mage, which ran this, has ended"
	}
	if !strings.Contains(stderr, says) {
		l.t.Errorf("it does not say %q, and ends with %d: %s", says, code, stderr)
	}
}
