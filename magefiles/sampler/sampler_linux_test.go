package sampler

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
)

// plant runs this test binary as a child that waits until it is killed, with
// an extra argument and an extra variable, and returns its pid.
func plant(t *testing.T, arg, variable string) int {
	t.Helper()
	c := exec.Command("/proc/self/exe", "-test.run=^TestChild$", "-test.v=false", "--", arg)
	c.Env = append(os.Environ(), "SAMPLER_CHILD=1", "PLANTED="+variable)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = c.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return c.Process.Pid
}

func TestChild(t *testing.T) {
	if os.Getenv("SAMPLER_CHILD") == "" {
		t.Skip("only as a child of the other tests")
	}
	os.Stdout.WriteString("ready\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
}

func TestPlantedSecretsAreFound(t *testing.T) {
	secrets := [][]byte{[]byte("in-argv-5d1f"), []byte("in-environ-77ab"), []byte("nowhere-c01d")}
	s := Start(secrets...)
	defer s.Stop()
	if err := s.WaitPass(t.Context()); err != nil {
		t.Fatal(err)
	}
	// This process holds all three in memory; that is not what is looked for.
	if f := s.Findings(); len(f) != 0 {
		t.Fatalf("before planting: %v", f)
	}
	pid := plant(t, "--password=in-argv-5d1f", "x-in-environ-77ab-y")
	if err := s.WaitPass(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := s.Stop()
	want := map[string]int{"cmdline": 0, "environ": 1}
	if len(found) != len(want) {
		t.Fatalf("found %v", found)
	}
	for _, f := range found {
		if f.PID != pid || f.Secret != want[f.Where] || f.Comm == "" {
			t.Errorf("found %+v, in child %d", f, pid)
		}
	}
	if s.Samples() < 2 {
		t.Errorf("%d passes", s.Samples())
	}
}

// TestItselfIsNotReported has a secret in this process's own environment, as
// a test has that sets FUSELESS_ variables; the kernel shows the initial
// environment, so a child is the watcher.
func TestItselfIsNotReported(t *testing.T) {
	if os.Getenv("SAMPLER_SELF") == "" {
		c := exec.Command("/proc/self/exe", "-test.run=^TestItselfIsNotReported$", "--", "own-argv-19e2")
		c.Env = append(os.Environ(), "SAMPLER_SELF=own-environ-83b0")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	s := Start([]byte("own-argv-19e2"), []byte("own-environ-83b0"))
	if err := s.WaitPass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := s.Stop(); len(f) != 0 {
		t.Errorf("found %v", f)
	}
}

func TestWaitPassEnds(t *testing.T) {
	s := Start([]byte("secret-0a0a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for s.WaitPass(ctx) == nil {
	}
	s.Stop()
	s.Stop()
	if err := s.WaitPass(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Stop: %v", err)
	}
}
