//go:build linux

package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fuseless/magefiles/compare"
	"fuseless/magefiles/nasty"
)

// restrictedLab makes a lab whose remote is OpenSSH with a forced command that
// allows what a storage box does: sftp and rsync --server. asked is the file
// with one line for each command that was asked for.
func restrictedLab(t *testing.T) (l *lab, asked string) {
	t.Helper()
	program, sftpServer := "/usr/sbin/sshd", "/usr/lib/openssh/sftp-server"
	for _, p := range []string{program, sftpServer} {
		if _, err := os.Stat(p); err != nil {
			t.Skip(p, " is not installed")
		}
	}
	l = emptyLab(t)
	sshdFolder(t)
	me, err := user.Current()
	must(t, err)
	must(t, os.Mkdir(l.path("sshd"), 0o700))
	file := func(name string) string { return l.path("sshd/" + name) }
	write := func(name, data string, mode os.FileMode) { must(t, os.WriteFile(file(name), []byte(data), mode)) }
	for _, key := range []string{"host", "key"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file(key)).CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
	}
	hostKey, err := os.ReadFile(file("host.pub"))
	must(t, err)
	public, err := os.ReadFile(file("key.pub"))
	must(t, err)
	port := freePort(t)
	asked = file("asked")
	write("authorized_keys", string(public), 0o600)
	write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", port, hostKey), 0o600)
	write("forced", fmt.Sprintf(`#!/bin/sh
cd %q || exit 1
printf '%%s\n' "$SSH_ORIGINAL_COMMAND" >> %q
case "$SSH_ORIGINAL_COMMAND" in
*[\;\&\|\<\>\`+"`"+`\$]*) ;;
"rsync --server "*) eval "exec $SSH_ORIGINAL_COMMAND" ;;
%s) exec %s ;;
esac
echo "This service allows sftp and rsync only" >&2
exit 1
`, l.remote, asked, sftpServer, sftpServer), 0o700)
	write("sshd_config", fmt.Sprintf(`ListenAddress 127.0.0.1
Port %d
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding no
Subsystem sftp %s
ForceCommand %s
`, port, file("host"), file("authorized_keys"), sftpServer, file("forced")), 0o600)
	write("config", fmt.Sprintf(`Host box
  HostName 127.0.0.1
  Port %d
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
	c := exec.Command(program, "-D", "-e", "-f", file("sshd_config"))
	c.Stderr = log
	must(t, c.Start())
	l.hidden = append(l.hidden, c.Process.Pid)
	l.stop = func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		log.Close()
	}
	eventually(t, "sshd listens", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	l.ssh, l.alias = file("config"), "box"
	l.configure()
	return l, asked
}

// sshdFolder makes the folder that root's sshd wants for its privilege
// separation. It stays: another sshd, perhaps of another package's tests, may be
// using it.
func sshdFolder(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		must(t, os.MkdirAll("/run/sshd", 0o755))
	}
}

// eventually waits for something that nothing announces.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	within(t, 20*time.Second, what, is)
}

// within is eventually for what may take longer.
func within(t *testing.T, d time.Duration, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain waited until ", what)
		}
	}
}

// TestChainRestricted runs every target that reaches the remote against a
// forced command, and looks at what it was asked for.
func TestChainRestricted(t *testing.T) {
	t.Parallel()
	needsDavFS(t)
	l, asked := restrictedLab(t)
	must(t, os.Remove(l.source))
	_, err := nasty.Make(l.source, nasty.Options{Bulk: 1 << 20, Special: true})
	must(t, err)
	for i := range 30 {
		l.write(fmt.Sprintf("plain/%d", i), "text")
	}
	l.ok("init")
	l.ok("backup", "open")
	want, secret := snapshot(t, l.source), l.session()
	got, err := compare.WebDAV(t.Context(), "http://"+secret.Address+"/", secret.User, secret.Password)
	must(t, err)
	l.judge(want, got, "webdav", "sshfs")
	l.ok("hostUnmount", "unserve", "remoteUnmount")
	l.ok("status")
	l.judge(want, l.restored(), "forward")
	l.ok("restore", "-to="+l.path("part"), "-only=/plain/7")
	l.remove("plain/3")
	l.ok("backup", "-dryRun")
	l.ok("backup")
	if r := l.last(); r.Deleted != 1 || r.Trash == "" {
		t.Errorf("a deletion through the forced command: %+v", r)
	}
	l.ok("backup", "-checksum")
	l.sameAsSource()
	l.ok("close", "down")

	b, err := os.ReadFile(asked)
	must(t, err)
	var rsync, sftp int
	for line := range strings.Lines(string(b)) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "rsync --server "):
			rsync++
		case filepath.Base(line) == "sftp-server":
			sftp++
		default:
			t.Errorf("the remote was asked for %q", line)
		}
	}
	if rsync < 4 || sftp < 3 {
		t.Errorf("the remote saw %d rsync and %d sftp:\n%s", rsync, sftp, b)
	}
}
