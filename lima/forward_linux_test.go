package lima

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/proc"
)

// sshdInstance is an instance whose guest is this machine, behind an sshd of
// its own.
func sshdInstance(t *testing.T) Instance {
	t.Helper()
	sshd := lookPath("sshd")
	if sshd == "" || lookPath("python3") == "" {
		t.Skip("sshd or python3 is not installed")
	}
	home, err := os.MkdirTemp("", "flh") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	i := Instance{Home: home, Name: "vm"}
	if err := os.Mkdir(i.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"host", "user"} {
		if err := proc.Run(t.Context(), proc.Cmd{Argv: []string{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", i.file(key)}}); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		_ = os.Mkdir("/run/sshd", 0o755) // what Debian's sshd wants
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	d, err := proc.StartDaemon(proc.Cmd{Argv: []string{sshd, "-D", "-e", "-f", "/dev/null", "-p", fmt.Sprint(port), "-h", i.file("host"),
		"-o", "ListenAddress=127.0.0.1", "-o", "AuthorizedKeysFile=" + i.file("user.pub"), "-o", "StrictModes=no", "-o", "PidFile=none",
		"-o", "UsePAM=no", "-o", "PermitRootLogin=yes"}}, i.file("sshd.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Kill)
	config := fmt.Sprintf(`Host lima-vm
  Hostname 127.0.0.1
  Port %d
  IdentityFile %s
  IdentitiesOnly yes
  BatchMode yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  ControlMaster auto
  ControlPath %s
  ControlPersist yes
  ConnectionAttempts 50
`, port, i.file("user"), i.file("ssh.sock"))
	if err := os.WriteFile(i.file("ssh.config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.disconnect(context.Background()) })
	return i
}

// The same as in a real VM, in a second.
func TestForward(t *testing.T) {
	i := sshdInstance(t)
	testForward(t, i)
	// Lima's own connection was not made use of: it would carry our forwards away.
	if _, err := os.Lstat(i.file("ssh.sock")); err == nil {
		t.Error("Lima's control socket was made")
	}
}

// A forward that cannot be made does not cut the connection, which other runs use.
func TestForwardThatFailsCutsNobody(t *testing.T) {
	i := sshdInstance(t)
	if err := i.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	argv := i.SSH("sh", "-c", "echo there; read line; echo $line")
	other := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	if line, err := out.ReadString('\n'); line != "there\n" {
		t.Fatalf("%q, %v", line, err)
	}
	err = i.Forward(t.Context(), "/nonexistent/guest.sock", i.file("host.sock"))
	if e := codeAndHint(t, err, failed); !strings.Contains(e.Hint, "fuseless up") {
		t.Errorf("got %v", err)
	}
	if _, err := io.WriteString(in, "still\n"); err != nil {
		t.Error(err)
	}
	if line, err := out.ReadString('\n'); line != "still\n" {
		t.Errorf("the other run's command says %q, %v", line, err)
	}
	if err := other.Wait(); err != nil {
		t.Errorf("the other run's command: %v", err)
	}
}

// A socket file that somebody removed in the guest is made again.
func TestForwardOfALostFile(t *testing.T) {
	i := sshdInstance(t)
	guest, host := i.file("g.sock"), i.file("h.sock")
	for range 2 {
		if err := i.Forward(t.Context(), guest, host); err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Lstat(guest); err != nil || fi.Mode().Type() != os.ModeSocket {
			t.Fatalf("%v, %v", fi, err)
		}
		if err := os.Remove(guest); err != nil {
			t.Fatal(err)
		}
	}
	i.disconnect(t.Context())
	if err := i.Unforward(t.Context(), guest, host); err != nil {
		t.Errorf("without a connection: %v", err)
	}
}

// Without a shared connection a command runs all the same.
func TestSSHWithoutConnection(t *testing.T) {
	i := sshdInstance(t)
	out, err := proc.Output(t.Context(), proc.Cmd{Argv: i.SSH("echo", "a  b"), Stdin: strings.NewReader("")})
	if err != nil || string(out) != "a  b\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := os.Lstat(i.file("fl.sock")); err == nil {
		t.Error("it left a connection")
	}
}

// testForward passes bytes both ways through a forwarded socket, with
// half-closes, and again after the connection was lost without a word.
func testForward(t *testing.T, i Instance) {
	t.Helper()
	dir := t.TempDir()
	host, guest := filepath.Join(dir, "h.sock"), fmt.Sprintf("/tmp/flguest-%d.sock", os.Getpid())
	l, err := net.Listen("unix", host)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	step(t, "forward a socket", func() error { return i.Forward(t.Context(), guest, host) })
	step(t, "forward it again", func() error { return i.Forward(t.Context(), guest, host) })
	step(t, "5 MiB each way, with half-close", func() error { return roundTrip(t, i, l, guest, 5<<20) })

	// The connection's process is killed: what is left is a socket file here,
	// another in the guest, and perhaps a session that knows nothing of it.
	killLink(t, i)
	step(t, "forward after the connection was lost", func() error { return i.Forward(t.Context(), guest, host) })
	step(t, "1 KiB each way", func() error { return roundTrip(t, i, l, guest, 1<<10) })
	step(t, "take the forward back", func() error { return i.Unforward(t.Context(), guest, host) })
	if _, err := i.ssh(t.Context(), i.SSH("test", "!", "-e", guest)); err != nil {
		t.Errorf("%s is left in the guest: %v", guest, err)
	}
}

// roundTrip lets a client in the guest send n bytes, close its half, and then
// read n others until the host's end closes.
func roundTrip(t *testing.T, i Instance, l net.Listener, guest string, n int) error {
	t.Helper()
	up, down := bytes.Repeat([]byte("guest to host\n"), n/14), bytes.Repeat([]byte("host to guest.\n"), n/15)
	hostEnd := make(chan error, 1)
	go func() {
		hostEnd <- func() error {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			defer c.Close()
			got, err := io.ReadAll(c) // ends with the client's half-close
			if err != nil {
				return err
			}
			if !bytes.Equal(got, up) {
				return fmt.Errorf("%d bytes came to the host, not %d", len(got), len(up))
			}
			_, err = c.Write(down)
			return err
		}()
	}()
	// Debian's python3 comes with cloud-init.
	const client = `
import socket, sys, threading
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.stdin.buffer.read())
s.shutdown(socket.SHUT_WR)
while b := s.recv(65536):
    sys.stdout.buffer.write(b)
`
	var got bytes.Buffer
	err := proc.Run(t.Context(), proc.Cmd{Argv: i.SSH("python3", "-c", client, guest), Stdin: bytes.NewReader(up), Stdout: &got})
	if err != nil {
		l.Close() // so that the other end does not wait for ever
		return errors.Join(err, <-hostEnd)
	}
	if err := <-hostEnd; err != nil {
		return err
	}
	if !bytes.Equal(got.Bytes(), down) {
		return fmt.Errorf("%d bytes came to the guest, not %d", got.Len(), len(down))
	}
	return nil
}

// killLink kills the process of the shared connection.
func killLink(t *testing.T, i Instance) {
	t.Helper()
	for _, pid := range processesOf(os.Getuid()) {
		cmd, _ := commandOf(pid)
		// Only this instance's: the user may have masters of their own.
		if strings.Contains(cmd, "ControlMaster=yes") && strings.Contains(cmd, i.Dir()+"/") || strings.Contains(cmd, i.file(link)+" [mux]") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("no process of the shared connection")
}

// processesOf are the living processes of a user.
func processesOf(uid int) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		var st syscall.Stat_t
		pid, _ := strconv.Atoi(filepath.Base(d))
		if syscall.Stat(d, &st) != nil || int(st.Uid) != uid {
			continue
		}
		if _, err := proc.StartTime(pid); err == nil { // not a zombie
			pids = append(pids, pid)
		}
	}
	return pids
}

// step runs f and logs how long it took.
func step(t *testing.T, what string, f func() error) {
	t.Helper()
	begin := time.Now()
	err := f()
	t.Logf("%7.2f s  %s", time.Since(begin).Seconds(), what)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// A guest that hangs is told from one that is slow to say no.
func TestAnswers(t *testing.T) {
	i := sshdInstance(t)
	if err := i.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !i.Answers(t.Context(), 20*time.Second) {
		t.Error("a guest that answers is said not to")
	}
	out, err := proc.Output(t.Context(), proc.Cmd{Argv: i.SSH("sh", "-c", "echo $PPID")}) // its sshd
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	listener := pid
	for up := pid; up != os.Getpid(); {
		listener = up
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", up))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if _, err := fmt.Sscanf(rest, "%1s %d", new(string), &up); err != nil {
			t.Fatal(err)
		}
	}
	signal := func(pid int, s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	signal(pid, syscall.SIGSTOP)
	if !i.Answers(t.Context(), 20*time.Second) {
		t.Error("a guest of which one connection hangs is said to hang")
	}
	signal(listener, syscall.SIGSTOP)
	begin := time.Now()
	if i.Answers(t.Context(), time.Second) {
		t.Error("a guest that hangs is said to answer")
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("that a guest hangs is known after %v", took)
	}
	signal(listener, syscall.SIGCONT)
	signal(pid, syscall.SIGCONT)
	if !i.Answers(t.Context(), 20*time.Second) {
		t.Error("a guest that goes on is said to hang")
	}
	i.disconnect(t.Context())
	if err := os.WriteFile(i.file("ssh.config"), []byte("Host lima-vm\n  Hostname 127.0.0.1\n  Port 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !i.Answers(t.Context(), 20*time.Second) {
		t.Error("a connection that is refused is said to hang")
	}
}
