package state

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestOther: what this process holds is no hindrance to itself.
func TestOther(t *testing.T) {
	const child = "FUSELESS_TEST_STATE_CHILD"
	if os.Getenv(child) == "" {
		t.Setenv("XDG_STATE_HOME", t.TempDir())
	}
	d, err := Open("00000000", "v")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(child) != "" {
		unlock, err := d.Lock()
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		os.Stdout.WriteString("locked\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	if o := d.Other(); o != "" {
		t.Errorf("nobody holds it: %q", o)
	}
	unlock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if o := d.Other(); o != "" {
		t.Errorf("this process holds it: %q", o)
	}
	unlock()

	cmd := exec.Command(os.Args[0], "-test.run=^TestOther$")
	cmd.Env = append(os.Environ(), child+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "locked\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if o := d.Other(); !strings.Contains(o, "pid ") {
		t.Errorf("another process holds it: %q", o)
	}
	in.Close()
	_ = cmd.Wait()
	if o := d.Other(); o != "" {
		t.Errorf("it has ended: %q", o)
	}
}
