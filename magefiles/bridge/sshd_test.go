package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/proto"
	"fuseless/guest/remote"
)

// sshd makes r's remote a real OpenSSH server on loopback, whose forced
// command allows sftp and rsync --server only, as a storage box does.
func (r *rig) sshd(options ...string) {
	t := r.t
	t.Helper()
	program, sftpServer := "/usr/sbin/sshd", "/usr/lib/openssh/sftp-server"
	for _, p := range []string{program, sftpServer} {
		if _, err := os.Stat(p); err != nil {
			t.Skip(p, " is not installed")
		}
	}
	if os.Geteuid() == 0 {
		// sshd's privilege separation wants this folder. It stays: another sshd,
		// perhaps of another package's tests, may be using it.
		must(t, os.MkdirAll("/run/sshd", 0o755))
	}
	me, err := user.Current()
	must(t, err)
	dir := filepath.Join(r.dir, "sshd")
	must(t, os.Mkdir(dir, 0o700))
	file := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, data string, mode os.FileMode) { must(t, os.WriteFile(file(name), []byte(data), mode)) }
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file("host"))
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file("key"))
	public, err := os.ReadFile(file("key.pub"))
	must(t, err)
	hostKey, err := os.ReadFile(file("host.pub"))
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	write("authorized_keys", string(public), 0o600)
	write("known_hosts", fmt.Sprintf("[127.0.0.1]:%s %s", port, hostKey), 0o600)
	write("forced", fmt.Sprintf(`#!/bin/sh
cd %q || exit 1
case "$SSH_ORIGINAL_COMMAND" in
"rsync --server "*) eval "exec $SSH_ORIGINAL_COMMAND" ;;
%s) exec %s ;;
esac
echo "refused: $SSH_ORIGINAL_COMMAND" >> %q
echo "This service allows sftp and rsync only" >&2
exit 1
`, r.root, sftpServer, sftpServer, file("refused")), 0o700)
	write("sshd_config", fmt.Sprintf(`ListenAddress 127.0.0.1
Port %s
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp %s
ForceCommand %s
%s
`, port, file("host"), file("authorized_keys"), sftpServer, file("forced"), strings.Join(options, "\n")), 0o600)
	write("config", fmt.Sprintf(`Host real
  HostName 127.0.0.1
  Port %s
  User %s
  IdentityFile %s
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile %s
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
`, port, me.Username, file("key"), file("known_hosts")), 0o600)

	log, err := os.Create(file("log"))
	must(t, err)
	cmd := exec.Command(program, "-D", "-e", "-f", file("sshd_config"))
	cmd.Stderr = log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if b, _ := os.ReadFile(file("log")); t.Failed() {
			t.Logf("sshd: %s", b)
		}
	})
	eventually(t, "sshd listens", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	r.remote.Target, r.remote.SSHConfig = "real", file("config")
	t.Cleanup(func() {
		if b, _ := os.ReadFile(file("refused")); len(b) > 0 {
			t.Errorf("the forced command %s", b)
		}
	})
}

func TestForcedCommand(t *testing.T) {
	r := newRig(t)
	r.sshd()
	r.remote.Path, r.remote.Trash = "a vault", "../a vault.trash"
	r.listen()
	src, out := filepath.Join(r.dir, "src"), filepath.Join(r.dir, "out")
	must(t, os.Mkdir(src, 0o755))
	data := noise(4 << 20)
	must(t, os.WriteFile(filepath.Join(src, "f"), data, 0o600))
	for range 2 { // the second replaces f
		if _, stderr, err := r.rsync("-aH", "--checksum", "--backup", "--backup-dir=../a vault.trash/20261123T154500Z", src+"/", "host:"); err != nil {
			t.Fatal(err, stderr)
		}
		must(t, os.WriteFile(filepath.Join(src, "f"), data[1:], 0o600))
	}
	if b, err := os.ReadFile(filepath.Join(r.root, "a vault.trash", "20261123T154500Z", "f")); err != nil || !bytes.Equal(b, data) {
		t.Error("the trash lacks the old file: ", err)
	}
	if _, stderr, err := r.rsync("-aH", "host:", out); err != nil {
		t.Fatal(err, stderr)
	}
	if b, err := os.ReadFile(filepath.Join(out, "f")); err != nil || !bytes.Equal(b, data[1:]) {
		t.Error("other bytes came back: ", err)
	}
	client, closer, err := remote.SFTP(t.Context(), r.socket, nil)
	must(t, err)
	f, err := client.Open("a vault/f")
	must(t, err)
	b, err := io.ReadAll(f)
	must(t, err)
	must(t, closer.Close())
	if !bytes.Equal(b, data[1:]) {
		t.Error("other bytes through sftp")
	}
	eventually(t, "ssh ends", func() bool { return len(processes(t, r.remote.SSHConfig)) == 0 })
}

// The messages of a real sshd, where the throwaway one cannot say them.
func TestOpenSSHFailuresAreExplained(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(r *rig, dir string)
		req  remote.Request
		want string
	}{
		{"no sftp", func(r *rig, dir string) {
			edit(r.t, dir+"/forced", "exec /usr/lib", "exit 127; exec /usr/lib")
		}, remote.Request{Service: "sftp"}, "cannot run what is needed"},
		{"no rsync", func(r *rig, dir string) {
			edit(r.t, dir+"/forced", `"exec $`, `"exec no-such-$`)
		}, remote.Request{Service: "rsync", Args: []string{"--server", "--sender", "-re.i", ".", "v/"}}, "no rsync"},
		{"key", func(r *rig, dir string) { must(r.t, os.WriteFile(dir+"/authorized_keys", nil, 0o600)) },
			remote.Request{Service: "sftp"}, "does not accept a key"},
		{"key file open to all", func(r *rig, dir string) { must(r.t, os.Chmod(dir+"/key", 0o644)) },
			remote.Request{Service: "sftp"}, "others can read"},
		{"full", func(r *rig, dir string) {
			edit(r.t, dir+"/forced", `eval "exec`, `echo 'rsync: write failed on "/x": No space left on device (28)' >&2; exit 11; eval "exec`)
		}, remote.Request{Service: "rsync", Args: []string{"--server", "-re.i", ".", "v/"}}, "disk is full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.sshd()
			c.make(r, filepath.Dir(r.remote.SSHConfig))
			r.listen()
			var stderr bytes.Buffer
			conn, err := remote.Dial(t.Context(), r.socket, c.req, &stderr)
			must(t, err)
			defer conn.Close()
			code, err := conn.Wait()
			var e *proto.Error
			if code == 0 || !errors.As(err, &e) || !strings.Contains(e.Message, c.want) || e.Hint == "" {
				t.Errorf("status %d, %v; stderr %q", code, err, stderr.String())
			}
			t.Log(code, err)
		})
	}
}

// edit replaces old in the file path.
func edit(t *testing.T, path, old, new string) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Contains(b, []byte(old)) {
		t.Fatalf("%s does not contain %q", path, old)
	}
	must(t, os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(new), 1), 0o700))
}

// On Lima the socket is forwarded into the VM by ssh -R: half-close, exit
// status and bulk data must survive that too.
func TestThroughForwardedSocket(t *testing.T) {
	r := newRig(t)
	throw := r.remote
	r.sshd() // plays the VM
	vm := r.remote.SSHConfig
	r.remote = throw
	r.listen()
	host := r.socket
	r.socket = filepath.Join(r.dir, "run", "guest")
	cmd := exec.Command("ssh", "-F", vm, "-N", "-o", "ExitOnForwardFailure=yes", "-R", r.socket+":"+host, "real")
	must(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = os.Remove(r.socket) }()
	eventually(t, "the socket is forwarded", func() bool { _, err := os.Lstat(r.socket); return err == nil })

	src, out := filepath.Join(r.dir, "src"), filepath.Join(r.dir, "out")
	must(t, os.Mkdir(src, 0o755))
	data := noise(16 << 20)
	must(t, os.WriteFile(filepath.Join(src, "f"), data, 0o600))
	if _, stderr, err := r.rsync("-a", src+"/", "host:"); err != nil {
		t.Fatal(err, stderr)
	}
	if _, stderr, err := r.rsync("-a", "host:", out); err != nil {
		t.Fatal(err, stderr)
	}
	if b, err := os.ReadFile(filepath.Join(out, "f")); err != nil || !bytes.Equal(b, data) {
		t.Error("other bytes came back: ", err)
	}
	conn, err := remote.Dial(t.Context(), r.socket, remote.Request{Service: "rsync", Args: []string{"--server", "--sender", "-re.i", ".", "x/"}}, nil)
	must(t, err)
	defer conn.Close()
	must(t, conn.CloseWrite())
	if code, err := conn.Wait(); code != 12 || err != nil {
		t.Errorf("status %d, %v; want rsync's 12", code, err)
	}
}
