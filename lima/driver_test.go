package lima

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

func golden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "lima", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// compare compares lines with a golden file; UPDATE_GOLDEN=1 writes it.
func compare(t *testing.T, name string, lines []string) {
	t.Helper()
	got := strings.Join(lines, "\n") + "\n"
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(filepath.Join("..", "testdata", "lima", name), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(golden(t, name)); got != want {
		t.Errorf("%s: got\n%swant\n%s", name, got, want)
	}
}

func codeAndHint(t *testing.T, err error, code proto.Code) *proto.Error {
	t.Helper()
	var e *proto.Error
	if !errors.As(err, &e) || e.Code != code || e.Hint == "" {
		t.Fatalf("got %v, want a proto.Error with code %s and a hint", err, code)
	}
	return e
}

func TestVersions(t *testing.T) {
	for version, ok := range map[string]bool{
		"1.0.7": false, "0.23.2": false, "1.1.0": true, "1.1.0-rc.1": true, "1.2.2": true, "1.2.2-14-gabcdef.m": true,
		"2.0.0-beta.0": true, "2.3.1": true, "v2.1.0": true, "3.0.0": false, "<unknown>": false, "": false,
	} {
		err := Tool{Path: "/x/limactl", Version: version}.check()
		if (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
		if err != nil {
			codeAndHint(t, err, proto.Prerequisite)
		}
	}
}

// fakeLimactl puts a limactl that prints text into PATH.
func fakeLimactl(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if text != "" {
		if err := os.WriteFile(filepath.Join(dir, "limactl"), []byte("#!/bin/sh\necho '"+text+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	old := systemDirs
	t.Cleanup(func() { systemDirs = old })
	systemDirs = nil
	t.Setenv("PATH", dir)
	return dir
}

func TestFind(t *testing.T) {
	dir := fakeLimactl(t, "limactl version 2.1.0")
	if tool, err := Find(t.Context()); err != nil || tool != (Tool{filepath.Join(dir, "limactl"), "2.1.0"}) {
		t.Errorf("got %v, %v", tool, err)
	}
	fakeLimactl(t, "limactl version 1.0.2")
	_, err := Find(t.Context())
	if e := codeAndHint(t, err, proto.Prerequisite); !strings.Contains(e.Message, "1.0.2") {
		t.Errorf("no version in %q", e.Message)
	}
	fakeLimactl(t, "something else")
	_, err = Find(t.Context())
	codeAndHint(t, err, proto.Prerequisite)
	fakeLimactl(t, "")
	_, err = Find(t.Context())
	if e := codeAndHint(t, err, proto.Prerequisite); !strings.Contains(e.Message, "not installed") {
		t.Errorf("got %q", e.Message)
	}
}

func TestPin(t *testing.T) {
	version, sum, err := pin("..")
	if err != nil || version == "" || strings.HasPrefix(version, "v") || !strings.HasPrefix(sum, "h1:") {
		t.Errorf("got %q, %q, %v", version, sum, err)
	}
	if buildName(version, sum) == buildName(version, sum+"x") {
		t.Error("another checksum has the same folder")
	}
	compare(t, "driver-build.golden", []string{
		strings.Join(buildArgv("1.2.2", "PREFIX/"+programs("amd64")[0].file, programs("amd64")[0].pkg), " "),
		strings.Join(buildArgv("1.2.2", "PREFIX/"+programs("amd64")[1].file, programs("amd64")[1].pkg), " "),
		strings.Join(buildArgv("1.2.2", "PREFIX/"+programs("arm64")[1].file, programs("arm64")[1].pkg), " "),
	})
}

func TestCheckHome(t *testing.T) {
	long := "/home/" + strings.Repeat("x", 80)
	for _, c := range []struct {
		home, name string
		ok         bool
	}{
		{"/Users/somebody.with-a-name/.fuseless-lima", "fuseless", true},
		{"/home/u/.fuseless-lima", "fuseless-2", true},
		{"relative", "fuseless", false},
		{"/home/a b/.fuseless-lima", "fuseless", false},
		{"/home/%h/.fuseless-lima", "fuseless", false},
		{long, "fuseless", false},
		{"/h", "Fuseless", false},
		{"/h", "_config", false},
		{"/h", "../x", false},
		{"/h", "", false},
	} {
		err := CheckHome(c.home, c.name)
		if (err == nil) != c.ok || err != nil && proto.CodeOf(err) != proto.Config {
			t.Errorf("%q, %q: %v", c.home, c.name, err)
		}
	}
	// The limit itself, by what the longest socket is: 103 bytes and a NUL.
	at := "/" + strings.Repeat("h", maxSocket-len("//n/"+longestSocket))
	if len(filepath.Join(at, "n", longestSocket)) != 103 || CheckHome(at, "n") != nil || CheckHome(at+"h", "n") == nil {
		t.Errorf("the limit is not where it belongs: %d", len(at))
	}
	for _, s := range []string{"ha.sock", link + ".1234567890123456"} {
		if len(s) > len(longestSocket) {
			t.Errorf("%s is longer than %s", s, longestSocket)
		}
	}
}

func TestRootIsRefused(t *testing.T) {
	defer func() { geteuid = os.Geteuid }()
	geteuid = func() int { return 0 }
	i := Instance{Home: t.TempDir(), Name: "n"}
	_, err := i.Status(t.Context())
	codeAndHint(t, err, proto.Prerequisite)
	_, err = i.Converge(t.Context(), nil, Options{})
	codeAndHint(t, err, proto.Prerequisite)
}

func TestList(t *testing.T) {
	for _, c := range []struct {
		file string
		want []listed
	}{
		{"driver-list-1.2.json", []listed{{"fuseless", "Running", "/home/u/.fuseless-lima/fuseless"}, {"other", "Stopped", "/home/u/.fuseless-lima/other"}}},
		{"driver-list-broken.json", []listed{{"fuseless", "Broken", "/home/u/.fuseless-lima/fuseless"}}},
	} {
		got, err := parseList(golden(t, c.file))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v", c.file, got, err)
		}
	}
	if got, err := parseList(nil); err != nil || got != nil {
		t.Errorf("no instance: %v, %v", got, err)
	}
	if _, err := parseList([]byte("{")); err == nil {
		t.Error("a cut list passes")
	}
}

// What a person reads while a VM starts, from a real host agent's log.
func TestBootLog(t *testing.T) {
	var b bootLog
	var got []string
	for line := range strings.Lines(string(golden(t, "driver-ha.stderr.log"))) {
		if p, ok := b.line(strings.TrimSpace(line)); ok {
			got = append(got, string(p.Kind)+": "+p.Text)
		}
	}
	compare(t, "driver-progress.golden", got)
	const quoted = `{"level":"info","msg":"Waiting for the essential requirement 4 of 4: \"fuse to \\\"allow_other\\\" as user\""}`
	if p, ok := b.line(quoted); !ok || p.Text != `waiting for fuse to "allow_other" as user (essential 4 of 4)` {
		t.Errorf("got %q", p.Text)
	}
	if !b.ssh {
		t.Error("it did not notice that ssh works")
	}
}

func TestReasons(t *testing.T) {
	var errs []string
	for line := range strings.Lines(string(golden(t, "driver-ha.stdout.log"))) {
		if e, ok := parseEvent([]byte(line)); ok && e.Status.Degraded {
			errs = e.Status.Errors
		}
	}
	what, hints := reasons(errs)
	compare(t, "driver-reasons.golden", append(what, hints...))
	what, hints = reasons([]string{"something new"})
	if len(what) != 1 || what[0] != "something new" || len(hints) != 0 {
		t.Errorf("an unknown error: %q, %q", what, hints)
	}
}

func TestProbeHint(t *testing.T) {
	const y = "probes:\n- {mode: readiness, description: one, hint: look here}\n- {description: two}\n"
	for d, want := range map[string]string{"one": "look here", "two": "", "ssh": ""} {
		if got := probeHint([]byte(y), d); got != want {
			t.Errorf("%s: %q", d, got)
		}
	}
}

func TestArgv(t *testing.T) {
	i := Instance{Home: "/h", Name: "vm"}
	spec, err := forwardSpec("/run/g.sock", "/run/h.sock")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, argv := range [][]string{i.SSH("/usr/local/bin/fuseless-guest", "run"), i.SSH("printf", "%s", "it's $HOME", ""), i.SSH(),
		i.control("check"), i.control("forward", "-R", spec)} {
		lines = append(lines, strings.Join(argv, "|"))
	}
	compare(t, "driver-argv.golden", lines)
	for _, bad := range []string{"relative", "/a:b", "/a b", "/a%h", "/" + strings.Repeat("x", 103)} {
		if _, err := forwardSpec(bad, "/h"); err == nil {
			t.Errorf("%q is forwarded", bad)
		}
		if _, err := forwardSpec("/g", bad); err == nil {
			t.Errorf("to %q is forwarded", bad)
		}
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		state State
		same  bool
		want  Action
	}{
		{Absent, false, Created}, {Stopped, true, Started}, {Stopped, false, Started},
		{Starting, true, Started}, {Starting, false, Restarted},
		{Running, true, Nothing}, {Running, false, Restarted},
		{Degraded, true, Restarted}, {Broken, true, Restarted},
	} {
		if got := plan(c.state, c.same); got != c.want {
			t.Errorf("%s, same %v: %s, want %s", c.state, c.same, got, c.want)
		}
	}
}

// Only the guest binary may differ without a restart.
func TestHash(t *testing.T) {
	const head = "cpus: 2\n# The guest binary (xz, base64). It is unpacked by the script above.\n"
	if Hash([]byte(head+"- AAAA\n")) != Hash([]byte(head+"- BBBB\n")) {
		t.Error("a new guest binary asks for a restart")
	}
	if Hash([]byte("cpus: 2\n")) == Hash([]byte("cpus: 3\n")) {
		t.Error("a change does not show")
	}
}

func TestLastMessage(t *testing.T) {
	lines := []string{`{"level":"info","msg":"a"}`, `{"level":"fatal","msg":"the reason"}`, `{"level":"info","msg":"b"}`}
	if got := lastMessage(lines); got != "the reason" {
		t.Errorf("got %q", got)
	}
	if got := lastMessage([]string{"panic: x"}); got != "panic: x" {
		t.Errorf("got %q", got)
	}
}
