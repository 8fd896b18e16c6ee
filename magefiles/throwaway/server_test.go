package throwaway

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

func start(t *testing.T) (s *Server, root string) {
	t.Helper()
	root = t.TempDir()
	s, err := Start(t.Context(), root, filepath.Join(t.TempDir(), "keys with space"))
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s, root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// command is the real ssh with the written configuration.
func command(t *testing.T, s *Server, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("ssh is not installed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, "ssh", append([]string{"-F", s.SSHConfig}, args...)...)
}

// client connects with the written key, by way of x/crypto/ssh.
func client(t *testing.T, s *Server) *ssh.Client {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(filepath.Dir(s.SSHConfig), "id_ed25519"))
	must(t, err)
	key, err := ssh.ParsePrivateKey(b)
	must(t, err)
	c, err := ssh.Dial("tcp", s.Addr, &ssh.ClientConfig{User: User, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestNothingElseIsOffered(t *testing.T) {
	s, root := start(t)
	marker := filepath.Join(root, "marker")
	for _, c := range []string{"uname -a", "sh -c 'touch " + marker + "'", "touch " + marker, "rsync --version", "rsync --version x", "rsync -a . x", "rsync --daemon", "/usr/bin/rsync --server . x", "rsync '--server'; touch " + marker, "rsync --server 'unclosed"} {
		out, err := command(t, s, Alias, c).CombinedOutput()
		var x *exec.ExitError
		if strings.HasPrefix(c, "rsync '--server';") { // one argument "--server;", or rsync's own failure
			if err == nil {
				t.Errorf("%s succeeded", c)
			}
			continue
		}
		if !errors.As(err, &x) || x.ExitCode() != 1 || !strings.Contains(string(out), offer) {
			t.Errorf("%s: %v, %s", c, err, out)
		}
	}
	// A shell would have run what follows the semicolon.
	if out, err := command(t, s, Alias, "rsync --server -re.i . v; touch "+marker).CombinedOutput(); err == nil {
		t.Errorf("%s", out)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a command was run")
	}
	for _, args := range [][]string{{"-o", "ExitOnForwardFailure=yes", "-N", "-R", "0:127.0.0.1:1", Alias}, {"-W", s.Addr, Alias}, {Alias}, {"-s", Alias, "shell"}} {
		if out, err := command(t, s, args...).CombinedOutput(); err == nil {
			t.Errorf("%q succeeded: %s", args, out)
		}
	}
	refused := s.Counters().Refused
	for _, want := range []string{"exec uname -a", "tcpip-forward", "direct-tcpip", "shell", "subsystem shell"} {
		if !slices.Contains(refused, want) {
			t.Errorf("%q is not among the refused: %q", want, refused)
		}
	}
	if n := s.Counters().Sessions; n > 2 { // the two that begin with rsync --server
		t.Errorf("%d sessions", n)
	}
}

func TestOnlyItsKey(t *testing.T) {
	s, _ := start(t)
	other, _ := start(t)
	key := filepath.Join(filepath.Dir(other.SSHConfig), "id_ed25519")
	b, err := os.ReadFile(s.SSHConfig)
	must(t, err)
	config := strings.Replace(string(b), filepath.Join(filepath.Dir(s.SSHConfig), "id_ed25519"), key, 1)
	must(t, os.WriteFile(s.SSHConfig, []byte(config), 0o600))
	out, err := command(t, s, "-s", Alias, "sftp").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Permission denied") {
		t.Errorf("another key: %v %s", err, out)
	}
	if s.Counters().Connections != 0 {
		t.Error("counted as a connection")
	}
}

func TestFilesArePrivate(t *testing.T) {
	s, _ := start(t)
	entries, err := os.ReadDir(filepath.Dir(s.SSHConfig))
	must(t, err)
	if len(entries) != 3 {
		t.Errorf("%v", entries)
	}
	for _, e := range entries {
		if fi, _ := e.Info(); fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), fi.Mode())
		}
	}
}

// Relative paths begin at the root; a symlink's target stays as it was set.
func TestSFTPPaths(t *testing.T) {
	s, root := start(t)
	c, err := sftp.NewClient(client(t, s))
	must(t, err)
	defer c.Close()
	must(t, c.MkdirAll("a/b"))
	f, err := c.Create("a/f")
	must(t, err)
	data := bytes.Repeat([]byte("data"), 1<<18)
	_, err = f.Write(data)
	must(t, err)
	must(t, f.Close())
	if got, _ := os.ReadFile(filepath.Join(root, "a", "f")); !bytes.Equal(got, data) {
		t.Error("other bytes")
	}
	must(t, c.Symlink("../a/f", "a/link"))
	if target, _ := os.Readlink(filepath.Join(root, "a", "link")); target != "../a/f" {
		t.Errorf("the symlink's target is %q", target)
	}
	if target, err := c.ReadLink("a/link"); target != "../a/f" || err != nil {
		t.Errorf("the symlink's target reads as %q, %v", target, err)
	}
	must(t, c.Link("a/f", "hard"))
	must(t, c.PosixRename("hard", "a/f2"))
	must(t, c.Rename("a/f2", "f3"))
	must(t, c.Chmod("f3", 0o600))
	if fi, err := os.Stat(filepath.Join(root, "f3")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi, err)
	}
	if _, err := c.StatVFS("a"); err != nil {
		t.Error(err)
	}
	if wd, err := c.Getwd(); wd != root || err != nil {
		t.Errorf("the login folder is %q, %v", wd, err)
	}
	entries, err := c.ReadDir("a")
	if err != nil || len(entries) != 3 {
		t.Errorf("%v %v", entries, err)
	}
	must(t, c.Remove("f3"))
	must(t, c.RemoveDirectory("a/b"))
	if _, err := c.Stat("f3"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestRsyncExitStatusAndEOF(t *testing.T) {
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Skip("rsync is not installed")
	}
	s, root := start(t)
	src := t.TempDir()
	must(t, os.WriteFile(filepath.Join(src, "f"), []byte("x"), 0o600))
	rsync := func(args ...string) error {
		cmd := exec.Command("rsync", append([]string{"-a", "-e", "ssh -F '" + s.SSHConfig + "'"}, args...)...)
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		return err
	}
	must(t, rsync(src+"/", Alias+":it's a/"))
	if _, err := os.Stat(filepath.Join(root, "it's a", "f")); err != nil {
		t.Error(err)
	}
	var x *exec.ExitError
	if err := rsync(Alias+":missing", src); !errors.As(err, &x) || x.ExitCode() != 23 {
		t.Errorf("rsync's 23 became %v", err)
	}
	// No input at all: rsync sees EOF and ends by itself.
	cmd := command(t, s, Alias, "rsync --server --sender -re.i . .")
	if err := cmd.Run(); !errors.As(err, &x) || x.ExitCode() != 12 {
		t.Errorf("rsync's 12 became %v", err)
	}
	c := s.Counters()
	if c.Sessions != 3 || c.In == 0 || c.Out == 0 {
		t.Errorf("%+v", c)
	}
}

func TestDropRefuseAndClose(t *testing.T) {
	s, _ := start(t)
	for _, end := range []func(){s.Drop, func() { s.Close() }} {
		c := client(t, s)
		session, err := c.NewSession()
		must(t, err)
		in, err := session.StdinPipe()
		must(t, err)
		defer in.Close()
		must(t, session.Start("rsync --server --sender -re.i . .")) // waits for its input
		s.Refuse(true)
		if second, err := c.NewSession(); err != nil {
			t.Error(err)
		} else if err := second.RequestSubsystem("sftp"); err == nil {
			t.Error("a session was not refused")
		}
		s.Refuse(false)
		end()
		if err := session.Wait(); err == nil {
			t.Error("the session lives on")
		}
	}
	if c, err := net.Dial("tcp", s.Addr); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

func TestEndOfContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Start(ctx, t.TempDir(), t.TempDir())
	must(t, err)
	c := client(t, s)
	cancel()
	_ = c.Wait()
	must(t, s.Close())
}

func TestRewriteRefusesCutPackets(t *testing.T) {
	r := &rooted{root: "/r"}
	for _, b := range []string{"", "\x00\x00", "\x00\x00\x00\x01", "\x00\x00\x00\x01\x00\x00", "\x00\x00\x00\x01\x00\x00\x00\x05ab", "\x00\x00\x00\x01\xff\xff\xff\xff"} {
		for _, kind := range []byte{fxpOpen, fxpRename, fxpSymlink, fxpExtended} {
			if out, err := r.rewrite(kind, []byte(b)); err == nil {
				t.Errorf("%d %q became %q", kind, b, out)
			}
		}
	}
}
