package lima

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary a limactl that keeps the books of one, and
// has no VM, where fakeVariable names the file for its calls.
func TestMain(m *testing.M) {
	if log := os.Getenv(fakeVariable); log != "" {
		if err := fake(log, os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, `{"level":"fatal","msg":%q}`+"\n", err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const fakeVariable = "FAKE_LIMACTL"

func fake(log string, args []string) error {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:] // --tty, --log-format
	}
	verb, name := args[0], args[len(args)-1]
	home := os.Getenv("LIMA_HOME")
	dir := filepath.Join(home, name)
	if verb == "create" {
		name = strings.TrimPrefix(args[1], "--name=")
		dir = filepath.Join(home, name)
	}
	if verb == "stop" && slices.Contains(args, "--force") {
		verb = "kill"
	}
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	fmt.Fprintln(f, verb)
	f.Close()
	if _, err := os.Stat(log + "." + verb + ".fails"); err == nil {
		return fmt.Errorf("%s fails", verb)
	}
	switch verb {
	case "create":
		yaml, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if _, err := os.Stat(log + ".create.half"); err == nil {
			return fmt.Errorf("killed")
		}
		return os.WriteFile(filepath.Join(dir, "lima.yaml"), yaml, 0o644)
	case "start":
		return fakeStart(log, dir, name)
	case "hostagent":
		return fakeAgent(filepath.Dir(args[2]))
	case "stop":
		return fakeStop(dir)
	case "kill":
		return fakeKill(dir)
	case "delete":
		if _, err := os.Stat(filepath.Join(dir, "lima.yaml")); err != nil {
			return nil // so does limactl
		}
		return os.RemoveAll(dir)
	}
	return fmt.Errorf("unknown verb %q", verb)
}

func fakeStart(log, dir, name string) error {
	agent := exec.Command(os.Args[0], "hostagent", "--pidfile", filepath.Join(dir, "ha.pid"), name)
	agent.Env = append(os.Environ(), fakeVariable+"="+log)
	agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := os.Create(filepath.Join(dir, "ha.stdout.log"))
	if err != nil {
		return err
	}
	agent.Stdout = out
	ready, err := agent.StderrPipe()
	if err != nil {
		return err
	}
	if err := agent.Start(); err != nil {
		return err
	}
	_, err = ready.Read(make([]byte, 1))
	if never() {
		return fmt.Errorf("did not receive an event with the running status")
	}
	return err
}

// never says whether the VM shall never become ready.
func never() bool {
	_, err := os.Stat(os.Getenv(fakeVariable) + ".never")
	return err == nil
}

func fakeAgent(dir string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	l, err := net.Listen("unix", filepath.Join(dir, "ha.sock"))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	for _, f := range []string{"ha.pid", "qemu.pid"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
			return err
		}
	}
	if !never() {
		fmt.Printf(`{"time":%q,"status":{"running":true}}`+"\n", time.Now().Format(time.RFC3339))
	}
	os.Stderr.WriteString("!")
	<-stop
	for _, f := range []string{"ha.pid", "qemu.pid"} {
		_ = os.Remove(filepath.Join(dir, f))
	}
	return l.Close()
}

func fakeStop(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "ha.pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		return err
	}
	for { // it is nobody's child
		if _, err := os.Stat(filepath.Join(dir, "qemu.pid")); err != nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

func fakeKill(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "ha.pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	for _, f := range []string{"ha.pid", "qemu.pid"} {
		_ = os.Remove(filepath.Join(dir, f))
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}
