package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
)

// serve lets f answer one connection, and returns the socket.
func serve(t *testing.T, f func(c *net.UnixConn, r *bufio.Reader, w *FrameWriter)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rm") // short: the socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		f(c.(*net.UnixConn), NewReader(c), NewFrameWriter(c))
	}()
	return socket
}

// echo answers with what it read after the half-close, and status 23.
func echo(t *testing.T, want Request) func(*net.UnixConn, *bufio.Reader, *FrameWriter) {
	return func(_ *net.UnixConn, r *bufio.Reader, w *FrameWriter) {
		req, err := ReadRequest(r)
		if err != nil || req.Service != want.Service || !slices.Equal(req.Args, want.Args) {
			t.Errorf("request %+v, %v; want %+v", req, err, want)
		}
		in, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		_ = w.Stderr([]byte("a warning\n"))
		if _, err := w.CopyStdout(bytes.NewReader(in)); err != nil {
			t.Error(err)
		}
		_ = w.Exit(Exit{Code: 23})
	}
}

func TestCommand(t *testing.T) {
	input := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB: many frames
	for _, c := range []struct {
		args []string
		want Request
	}{
		{strings.Fields("-x -a -oClearAllForwardings=yes -oServerAliveInterval=15 -2 -s -- user@host sftp"), Request{Service: "sftp"}},
		{strings.Fields("-x -a -2 user@host -s sftp"), Request{Service: "sftp"}},
		{strings.Fields("-l user host rsync --server -logDtpre.iLsfxCIvu . v"), Request{Service: "rsync", Args: strings.Fields("--server -logDtpre.iLsfxCIvu . v")}},
		{strings.Fields("rsync rsync --server --sender -re.i . v"), Request{Service: "rsync", Args: strings.Fields("--server --sender -re.i . v")}},
	} {
		t.Setenv(SocketVariable, serve(t, echo(t, c.want)))
		var out, stderr bytes.Buffer
		if code := Command(t.Context(), c.args, bytes.NewReader(input), &out, &stderr); code != 23 {
			t.Errorf("status %d", code)
		}
		if !bytes.Equal(out.Bytes(), input) {
			t.Errorf("%d bytes of %d, or others", out.Len(), len(input))
		}
		if stderr.String() != "a warning\n" {
			t.Errorf("stderr %q", stderr.String())
		}
	}
}

func TestCommandRefusesOtherCommands(t *testing.T) {
	t.Setenv(SocketVariable, "/nowhere")
	for _, args := range [][]string{nil, {"host"}, {"host", "uname"}, {"host", "sftp"}, {"-s", "host", "shell"}, {"host", "rsync", "--daemon"}, {"host", "rsync"}} {
		var stderr bytes.Buffer
		if code := Command(t.Context(), args, strings.NewReader(""), io.Discard, &stderr); code != ExitLost || !strings.Contains(stderr.String(), "only the sftp") {
			t.Errorf("%q: status %d, %q", args, code, stderr.String())
		}
	}
}

// A server that ends while standard input stays open ends the command.
func TestCommandEndsWithServer(t *testing.T) {
	t.Setenv(SocketVariable, serve(t, func(_ *net.UnixConn, r *bufio.Reader, w *FrameWriter) {
		_, _ = ReadRequest(r)
		_, _ = w.CopyStdout(strings.NewReader("last words"))
		_ = w.Exit(Exit{Code: 7, Error: "it broke", Hint: "mend it"})
	}))
	stdin, w := io.Pipe()
	defer w.Close()
	var out, stderr bytes.Buffer
	if code := Command(t.Context(), []string{"-s", "h", "sftp"}, stdin, &out, &stderr); code != 7 || out.String() != "last words" {
		t.Errorf("status %d, %q", code, out.String())
	}
	if s := stderr.String(); !strings.Contains(s, "it broke") || !strings.Contains(s, "hint: mend it") {
		t.Errorf("stderr %q", s)
	}
}

// endless is a standard input without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// onWrite is a standard output; f runs before every write to it.
type onWrite struct {
	bytes.Buffer
	f func()
}

func (w *onWrite) Write(p []byte) (int, error) { w.f(); return w.Buffer.Write(p) }

// That standard input can no longer be sent must not lose the output and the
// exit status that are already on their way.
func TestCommandKeepsOutputOfEndedServer(t *testing.T) {
	closed := make(chan struct{})
	t.Setenv(SocketVariable, serve(t, func(c *net.UnixConn, r *bufio.Reader, w *FrameWriter) {
		_, _ = ReadRequest(r)
		for range 3 { // more than the client's buffer holds
			_, _ = w.CopyStdout(bytes.NewReader(make([]byte, 60<<10)))
		}
		_ = w.Exit(Exit{Code: 7})
		c.Close()
		close(closed)
	}))
	out := &onWrite{f: func() {
		<-closed
		time.Sleep(20 * time.Millisecond) // for a write of standard input to fail, and what would follow
	}}
	if code := Command(t.Context(), []string{"-s", "h", "sftp"}, endless{}, out, io.Discard); code != 7 || out.Len() != 180<<10 {
		t.Errorf("status %d, %d bytes", code, out.Len())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// A standard output that breaks, and ctx, end the command and the connection.
func TestCommandEndsEarly(t *testing.T) {
	for _, name := range []string{"stdout", "ctx"} {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		t.Setenv(SocketVariable, serve(t, func(c *net.UnixConn, r *bufio.Reader, w *FrameWriter) {
			_, _ = ReadRequest(r)
			if name == "ctx" {
				cancel()
			}
			_, _ = w.CopyStdout(strings.NewReader("x"))
			_, err := r.ReadByte()
			gone <- err
		}))
		stdin, w := io.Pipe()
		if code := Command(ctx, []string{"-s", "h", "sftp"}, stdin, broken{}, io.Discard); code != ExitLost {
			t.Errorf("%s: status %d", name, code)
		}
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the connection stays", name)
		}
		w.Close()
		cancel()
	}
}

// Without an exit frame nothing may look like success.
func TestLostConnection(t *testing.T) {
	for name, sent := range map[string]string{
		"nothing":     "",
		"half header": "\x01\x00\x00",
		"half frame":  "\x01\x00\x00\x00\x05ab",
		"no exit":     "\x01\x00\x00\x00\x02ab",
		"half exit":   "\x03\x00\x00\x00\x0a{\"code\"",
		"no JSON":     "\x03\x00\x00\x00\x02{]",
		"large":       "\x01\x7f\x00\x00\x00",
		"unknown":     "\x09\x00\x00\x00\x00",
	} {
		conn, err := Dial(t.Context(), serve(t, func(c *net.UnixConn, r *bufio.Reader, _ *FrameWriter) {
			_, _ = ReadRequest(r)
			_, _ = io.WriteString(c, sent)
		}), Request{Service: "sftp"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err == nil {
			t.Errorf("%s: read without an error", name)
		}
		if code, err := conn.Wait(); code != ExitLost || proto.CodeOf(err) != proto.Remote {
			t.Errorf("%s: status %d, %v", name, code, err)
		}
		conn.Close()
	}
}

func TestReadRequest(t *testing.T) {
	for _, bad := range []string{"", "{}", "nonsense\n", `{"service":"sftp"} {}` + "\n", `{"service":"sftp","user":"root"}` + "\n", `{"service":"` + strings.Repeat("x", maxRequest) + "\"}\n"} {
		if req, err := ReadRequest(NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("%.40q became %+v", bad, req)
		}
	}
	r := NewReader(strings.NewReader(`{"service":"sftp"}` + "\nrest"))
	if _, err := ReadRequest(r); err != nil {
		t.Error(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "rest" {
		t.Errorf("standard input begins with %q", rest)
	}
}

// Real messages, by OpenSSH 9.2 and rsync 3.5.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		stderr string
		exit   int
		code   proto.Code
		text   string
	}{
		{"ssh: connect to host h port 22: Connection timed out\n", 255, proto.Remote, "cannot be reached"},
		{"ssh: connect to host h port 22: No route to host\n", 255, proto.Remote, "cannot be reached"},
		{"ssh: Could not resolve hostname jump: Name or service not known\nConnection closed by UNKNOWN port 65535\n", 255, proto.Remote, "cannot be resolved"},
		{"@@@@\nHost key for h has changed and you have requested strict checking.\nHost key verification failed.\n", 255, proto.Remote, "not the one that is known"},
		{"Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures\n", 255, proto.Remote, "too many keys"},
		{"kex_exchange_identification: Connection closed by remote host\n", 255, proto.Remote, "lost"},
		{"", 255, proto.Remote, "failed"},
		{`rsync: [receiver] write failed on "/v/x": No space left on device (28)`, 11, proto.NoSpace, "full"},
		{`rsync: [receiver] mkstemp "/v/.x" failed: Disk quota exceeded (122)`, 23, proto.NoSpace, "quota"},
		{`rsync: [generator] mkdir "/v/x" failed: Read-only file system (30)`, 23, proto.Remote, "read-only"},
		{"bash: line 1: rsync: command not found\n", 127, proto.Remote, "no rsync"},
	} {
		e := Explain(c.stderr, c.exit, "u@h", "ssh -p 23 u@h")
		if e == nil || e.Code != c.code || !strings.Contains(e.Message, c.text) || !strings.Contains(e.Message, "u@h") || e.Hint == "" {
			t.Errorf("%q: %v", c.stderr, e)
		}
	}
	if e := Explain(`rsync: [sender] opendir "/x" failed: Permission denied (13)`, 23, "u@h", ""); e != nil {
		t.Errorf("a file that cannot be read is not the remote's fault: %v", e)
	}
	if e := Explain("Connection refused", 0, "u@h", ""); e != nil {
		t.Errorf("success is explained: %v", e)
	}
	e := Explain("sh: 1: rsync: not found\nrsync: connection unexpectedly closed (0 bytes received so far) [sender]\n", 127, "u@h", "")
	if e == nil || e.Message != "the remote has no rsync (u@h): sh: 1: rsync: not found" {
		t.Errorf("not the line with the cause: %v", e)
	}
	if e := Explain("Host key verification failed.", 255, "u@h", "ssh -p 23 u@h"); !strings.Contains(e.Hint, "`ssh -p 23 u@h`") {
		t.Error(e.Hint)
	}
}
