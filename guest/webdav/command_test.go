package webdav

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/proto"
	"fuseless/guest/webdav/challenge"
)

func credentialsFile(t *testing.T, line string, mode os.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(name, []byte(line), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// inherited is the reading end of a pipe as a child finds it: a descriptor
// that belongs to no os.File, which would close it a second time.
func inherited(t *testing.T) (string, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Dup(int(r.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	return fmt.Sprintf("/dev/fd/%d", fd), w
}

func TestCommand(t *testing.T) {
	root := t.TempDir()
	write(t, "data", root, "f")
	os.Symlink("/etc/passwd", filepath.Join(root, "out"))
	fd, w := inherited(t)
	defer w.Close() // open all the while: the line is enough
	fmt.Fprintf(w, "%s:%s\n", testUser, testPassword)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stdout, stdoutW := io.Pipe()
	var stderr lockedBuffer
	done := make(chan error, 1)
	go func() {
		done <- Command(ctx, []string{"-root", root, "-listen", "127.0.0.1:0", "-credentials", fd, "-read-only"}, stdoutW, &stderr)
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok || strings.HasSuffix(addr, ":0") {
		t.Fatalf("printed %q", line)
	}
	s := &testServer{t: t, URL: "http://" + addr, addr: addr}
	if err := challenge.Verify(ctx, s.URL, testUser, testPassword); err != nil {
		t.Error(err)
	}
	if got := s.do("GET", "/f", nil).want(t, 200).body; got != "data" {
		t.Errorf("got %q", got)
	}
	for range 3 {
		s.propfind("/", "1", "")
	}
	s.do("PUT", "/f", strings.NewReader("x")).want(t, 403)
	if got := strings.Count(stderr.String(), "1 entries of \".\" are not shown"); got != 1 || strings.Contains(stderr.String(), testPassword) {
		t.Errorf("stderr: %s", &stderr)
	}

	// The port is taken now.
	err = Command(ctx, []string{"-root", root, "-listen", addr, "-credentials", credentialsFile(t, "u:p\n", 0o600)}, io.Discard, io.Discard)
	if proto.CodeOf(err) != proto.Serve || !strings.Contains(err.Error(), "hint: ") {
		t.Errorf("port taken: %v", err)
	}

	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("does not end")
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("still listening")
	}
}

func TestCommandRefuses(t *testing.T) {
	root := t.TempDir()
	good := credentialsFile(t, "user:pass:word", 0o600)
	for _, c := range []struct {
		root, listen, file string
		code               proto.Code
		says               string
	}{
		{root, "0.0.0.0:0", good, proto.Config, "loopback"},
		{root, ":0", good, proto.Config, "loopback"},
		{root, "192.0.2.1:80", good, proto.Config, "loopback"},
		{root, "[::]:0", good, proto.Config, "loopback"},
		{root, "localhost:0", good, proto.Config, "loopback"},
		{root, "127.0.0.1", good, proto.Config, "port"},
		{root, "127.0.0.1:99999", good, proto.Config, "port"},
		{"", "127.0.0.1:0", good, proto.Config, "-root"},
		{root + "/none", "127.0.0.1:0", good, proto.Source, "none"},
		{root, "127.0.0.1:0", root + "/none%d", proto.Config, "none%d: "},
		{root, "127.0.0.1:0", root, proto.Config, "folder"},
		{root, "127.0.0.1:0", credentialsFile(t, "u:p", 0o644), proto.Config, "0644"},
		{root, "127.0.0.1:0", credentialsFile(t, "u:p", 0o640), proto.Config, "chmod 600"},
		{root, "127.0.0.1:0", credentialsFile(t, "u:p", 0o400), proto.Config, "0400"},
		{root, "127.0.0.1:0", credentialsFile(t, "", 0o600), proto.Config, "user:password"},
		{root, "127.0.0.1:0", credentialsFile(t, "\n", 0o600), proto.Config, "user:password"},
		{root, "127.0.0.1:0", credentialsFile(t, "userpass\n", 0o600), proto.Config, "user:password"},
		{root, "127.0.0.1:0", credentialsFile(t, ":pass\n", 0o600), proto.Config, "user:password"},
		{root, "127.0.0.1:0", credentialsFile(t, "user:\n", 0o600), proto.Config, "user:password"},
		{root, "127.0.0.1:0", credentialsFile(t, "u:p\nu:q\n", 0o600), proto.Config, "one line"},
		{root, "127.0.0.1:0", credentialsFile(t, "u:"+strings.Repeat("p", 5000), 0o600), proto.Config, "exceeds"},
		{root, "127.0.0.1:0", "/dev/fd/x", proto.Config, "descriptor"},
		{root, "127.0.0.1:0", "/dev/fd/9999", proto.Config, "/dev/fd/9999"},
	} {
		var stdout bytes.Buffer
		err := Command(context.Background(), []string{"-root", c.root, "-listen", c.listen, "-credentials", c.file}, &stdout, io.Discard)
		if proto.CodeOf(err) != c.code || err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "ppp") {
			t.Errorf("%+v: %v", c, err)
		}
		if stdout.Len() > 0 {
			t.Errorf("%+v: printed %q", c, stdout.String())
		}
	}
	for _, args := range [][]string{{"-nope"}, {"-root", root, "-listen", "127.0.0.1:0", "-credentials", good, "extra"}} {
		if err := Command(context.Background(), args, io.Discard, io.Discard); proto.CodeOf(err) != proto.Config {
			t.Errorf("%v: %v", args, err)
		}
	}
	if user, password, err := readCredentials(good); user != "user" || password != "pass:word" || err != nil {
		t.Errorf("%q %q %v", user, password, err)
	}
}

func TestCredentialsDescriptorIsClosed(t *testing.T) {
	name, w := inherited(t)
	io.WriteString(w, "u:p\n")
	w.Close()
	if _, _, err := readCredentials(name); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("the descriptor is still open")
	}
}
