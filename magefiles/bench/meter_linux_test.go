package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
)

func TestMain(m *testing.M) {
	Become(os.Args[0])
	os.Exit(m.Run())
}

// begin starts steps.
func begin(t *testing.T, out *bytes.Buffer, grace time.Duration, steps ...step) *metered {
	t.Helper()
	program, err := (&place{mem: t.TempDir()}).under(meterName)
	if err != nil {
		t.Fatal(err)
	}
	var to io.Writer
	if out != nil {
		to = out
	}
	m, err := start(job{Steps: steps, Grace: grace}, program, os.Environ(), nil, to)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func sh(script string) step { return step{Argv: []string{"sh", "-c", script}} }

// burn is a shell's loop of about a third of a second or more.
const burn = `i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done`

// What a daemon burns counts, also after the command that started it has ended:
// the meter adopts it. The command's own time does not include it.
func TestMeterCountsDaemons(t *testing.T) {
	alone, err := begin(t, nil, time.Minute, sh(burn)).wait(t.Context())
	if err != nil || alone.CPU < 50*time.Millisecond {
		t.Fatalf("%+v, %v", alone, err)
	}
	u, err := begin(t, nil, time.Minute, sh("(setsid sh -c '"+burn+"; "+burn+"' &)")).wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u.CPU < alone.CPU*3/2 || u.Wall > u.CPU/2 {
		t.Errorf("a command takes %+v; a daemon with twice its work %+v", alone, u)
	}
}

// A daemon that stays is killed, with its children, and named.
func TestMeterKillsWhatStays(t *testing.T) {
	var out bytes.Buffer
	u, err := begin(t, &out, 100*time.Millisecond, sh("(setsid sh -c 'sleep 1000 & echo $$ $!; wait' &)")).wait(t.Context())
	if err == nil || !strings.Contains(err.Error(), "still running after its end, and killed: sh") || len(u.Left) == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	pids := strings.Fields(out.String())
	if len(pids) != 2 {
		t.Fatalf("printed %q", out.String())
	}
	for _, pid := range pids {
		if b, err := os.ReadFile(filepath.Join("/proc", pid, "stat")); err == nil {
			t.Errorf("it lives: %s", b)
		}
	}
}

// A step that fails ends the job, but for what must be done always.
func TestMeterSteps(t *testing.T) {
	var out bytes.Buffer
	clean := sh("echo cleaned")
	clean.Always = true
	_, err := begin(t, &out, time.Minute, sh("echo one"), sh("echo why >&2; exit 3"), sh("echo three"), clean).wait(t.Context())
	if out.String() != "one\ncleaned\n" {
		t.Errorf("ran %q", out.String())
	}
	if proto.CodeOf(err) != proto.Different || !strings.Contains(err.Error(), "exit status 3: why") {
		t.Error(err)
	}
}

// Told to end, the job ends, and cleans up.
func TestMeterEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	file := filepath.Join(t.TempDir(), "cleaned")
	clean := step{Argv: []string{"touch", file}, Always: true}
	m := begin(t, nil, time.Minute, step{Argv: []string{"sleep", "1000"}}, clean)
	cancel()
	if _, err := m.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("it did not clean up: ", err)
	}
}
