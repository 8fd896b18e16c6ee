package webdav

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is `fuseless-guest webdav`, running. It is the real program: with the race
// detector, as this test has it, its memory would say nothing.
type process struct {
	*testServer
	pid int
	cmd *exec.Cmd
}

// buildGuest compiles the program as guestbin does, which makes it quick after that.
func buildGuest(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "fuseless-guest")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-gcflags=crypto/...=-l", "-tags", "nethttpomithttp2", "-ldflags", "-s -w -buildid=", "-o", program, "fuseless/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// run starts program on root until the test ends; it must end by SIGTERM, with status 0.
func run(t *testing.T, program, root string, args ...string) *process {
	t.Helper()
	p := launch(t, nil, program, root, args...)
	t.Cleanup(p.end)
	return p
}

// launch starts program on root, by the command tracer if there is one, which becomes it. The
// caller ends it; if the test fails before, it is killed.
func launch(t *testing.T, tracer []string, program, root string, args ...string) *process {
	t.Helper()
	file := credentialsFile(t, testUser+":"+testPassword+"\n", 0o600)
	argv := slices.Concat(tracer, []string{program, "webdav", "-root", root, "-listen", "127.0.0.1:0", "-credentials", file}, args)
	cmd := exec.Command(argv[0], argv[1:]...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	logged := &lockedBuffer{}
	cmd.Stderr = logged
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		t.Fatalf("printed %q, %v\n%s", line, err, logged)
	}
	return &process{&testServer{t, "http://" + addr, addr, logged}, cmd.Process.Pid, cmd}
}

// end ends the server in order.
func (p *process) end() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the server: %v\n%s", err, p.log)
	}
}

// peak is the most memory that the process ever had (VmHWM, proc_pid_status(5)), in KiB.
func (p *process) peak() (kib int) {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(b, []byte("\nVmHWM:"))
	if _, err := fmt.Sscanf(string(rest), "%d kB", &kib); err != nil {
		p.t.Fatal(err)
	}
	return kib
}

// flood sends a request whose body may never be taken, and returns the head of
// the answer, and how much of the body was sent before the server closed.
func (s *testServer) flood(head string, body io.Reader) (answer string, sent int64) {
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Error(err)
		return "", 0
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	done := make(chan int64)
	go func() {
		io.WriteString(c, head+"\r\nHost: localhost\r\n\r\n")
		n, _ := io.Copy(struct{ io.Writer }{c}, body)
		done <- n
	}()
	r := bufio.NewReader(c)
	answer, _ = r.ReadString('\n')
	io.Copy(io.Discard, r)
	c.Close()
	return strings.TrimSpace(answer), <-done
}
