package lima

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
)

// faked is an instance whose limactl is fake, and the file of its calls.
func faked(t *testing.T) (i Instance, log string) {
	t.Helper()
	home, err := os.MkdirTemp("", "flh") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log = filepath.Join(home, "calls")
	geteuid = func() int { return 1000 }
	i = Instance{Tool: Tool{Path: self}, Home: home, Name: "vm", Env: []string{fakeVariable + "=" + log}}
	t.Cleanup(func() {
		if i.process("ha.pid") {
			_ = i.stop(context.Background())
		}
		geteuid = os.Geteuid
		os.RemoveAll(home)
	})
	return i, log
}

// calls are the verbs that limactl was called with since the last look.
func calls(log string) string {
	b, _ := os.ReadFile(log)
	_ = os.Remove(log)
	var verbs []string
	for v := range strings.FieldsSeq(string(b)) {
		if v != "hostagent" {
			verbs = append(verbs, v)
		}
	}
	return strings.Join(verbs, " ")
}

func TestConverge(t *testing.T) {
	i, log := faked(t)
	for _, c := range []struct {
		what   string
		before func()
		yaml   string
		live   bool
		want   Action
		calls  string
	}{
		{what: "absent", yaml: "cpus: 1\n", want: Created, calls: "create start"},
		{what: "nothing to do", yaml: "cpus: 1\n", want: Nothing},
		{what: "nothing to do, with a view", yaml: "cpus: 1\n", live: true, want: Nothing},
		{what: "changed", yaml: "cpus: 2\n", want: Restarted, calls: "stop start"},
		{what: "stopped", before: func() { _ = i.Stop(t.Context()); calls(log) }, yaml: "cpus: 2\n", want: Started, calls: "start"},
		{what: "stopped and changed, with a view that is said to live", before: func() { _ = i.Stop(t.Context()); calls(log) },
			yaml: "cpus: 3\n", live: true, want: Started, calls: "start"},
		{what: "degraded", before: func() {
			_ = os.WriteFile(i.file("ha.stdout.log"), []byte(`{"time":"2026-01-02T03:04:05Z","status":{"running":true,"degraded":true,"errors":["e"]}}`+"\n"), 0o600)
		}, yaml: "cpus: 3\n", want: Restarted, calls: "stop start"},
		{what: "only the guest binary changed, with a view", yaml: "cpus: 3\n# The guest binary (xz, base64). It is unpacked by the script above.\ny\n", live: true, want: Nothing},
	} {
		if c.before != nil {
			c.before()
		}
		got, err := i.Converge(t.Context(), []byte(c.yaml), Options{ViewLive: c.live, Timeout: time.Minute})
		if err != nil || got != c.want {
			t.Fatalf("%s: did %s, %v; want %s", c.what, got, err, c.want)
		}
		if s := calls(log); s != c.calls {
			t.Errorf("%s: limactl %q, want %q", c.what, s, c.calls)
		}
		if b, _ := os.ReadFile(i.file("lima.yaml")); string(b) != c.yaml {
			t.Errorf("%s: lima.yaml is %q", c.what, b)
		}
		if q := i.Quick(); q != Running {
			t.Errorf("%s: it is %s", c.what, q)
		}
	}
	if err := i.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls(log)
	if left, _ := os.ReadDir(i.Home); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A view in the VM is not taken down by a change.
func TestLiveViewIsNotCut(t *testing.T) {
	i, log := faked(t)
	if _, err := i.Converge(t.Context(), []byte("cpus: 1\n"), Options{}); err != nil {
		t.Fatal(err)
	}
	calls(log)
	_, err := i.Converge(t.Context(), []byte("cpus: 2\n"), Options{ViewLive: true})
	codeAndHint(t, err, proto.Busy)
	if s := calls(log); s != "" || i.Quick() != Running {
		t.Errorf("limactl %q, state %s", s, i.Quick())
	}
}

func TestForeignInstanceIsLeftAlone(t *testing.T) {
	i, log := faked(t)
	if err := os.Mkdir(i.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(i.file("lima.yaml"), []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := i.Converge(t.Context(), []byte("ours"), Options{})
	codeAndHint(t, err, proto.Config)
	for what, err := range map[string]error{"create": i.Create(t.Context(), []byte("ours")), "stop": i.Stop(t.Context()), "delete": i.Delete(t.Context())} {
		if proto.CodeOf(err) != proto.Config {
			t.Errorf("%s: %v", what, err)
		}
	}
	if b, _ := os.ReadFile(i.file("lima.yaml")); string(b) != "theirs" || calls(log) != "" {
		t.Errorf("it was touched: %q", b)
	}
}

// A creation that was killed is begun again, and not taken for a foreign VM.
func TestHalfMadeInstance(t *testing.T) {
	i, log := faked(t)
	// limactl makes the folder first, and lima.yaml in it last.
	for _, err := range []error{os.MkdirAll(i.Dir(), 0o700), os.WriteFile(i.intent(), nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	calls(log)
	got, err := i.Converge(t.Context(), []byte("cpus: 1\n"), Options{})
	if err != nil || got != Created {
		t.Errorf("did %s, %v", got, err)
	}
	if s := calls(log); s != "delete create start" {
		t.Errorf("limactl %q", s)
	}
}

// A start that failed leaves nothing to be mended: the next one starts it.
func TestStartFails(t *testing.T) {
	i, log := faked(t)
	if err := os.WriteFile(log+".start.fails", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := i.Converge(t.Context(), []byte("cpus: 1\n"), Options{})
	if e := codeAndHint(t, err, failed); !strings.Contains(e.Message, "start fails") || !strings.Contains(e.Hint, i.Dir()) {
		t.Errorf("got %v", err)
	}
	_ = os.Remove(log + ".start.fails")
	calls(log)
	if got, err := i.Converge(t.Context(), []byte("cpus: 1\n"), Options{}); err != nil || got != Started || calls(log) != "start" {
		t.Errorf("did %s, %v", got, err)
	}
}

// After a power failure a pid in a file may be anybody's: limactl would kill it.
func TestStalePID(t *testing.T) {
	i, log := faked(t)
	if err := i.Create(t.Context(), []byte("cpus: 1\n")); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"ha.pid", "qemu.pid"} {
		if err := os.WriteFile(i.file(f), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if q := i.Quick(); q != Stopped {
		t.Errorf("it is taken for %s", q)
	}
	calls(log)
	if err := i.Stop(t.Context()); err != nil || calls(log) != "" {
		t.Errorf("stop: %v", err)
	}
	if left, _ := filepath.Glob(i.file("*.pid")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// One that hangs is not asked to shut down, and what is stopped is let be.
func TestKill(t *testing.T) {
	i, log := faked(t)
	if _, err := i.Converge(t.Context(), []byte("cpus: 1\n"), Options{}); err != nil {
		t.Fatal(err)
	}
	calls(log)
	for _, want := range []string{"kill", ""} {
		if err := i.Kill(t.Context()); err != nil || calls(log) != want || i.Quick() != Stopped {
			t.Errorf("%v; called were not %q, or it is %s", err, want, i.Quick())
		}
	}
}
