//go:build linux

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fuseless/guest/proto"
)

// account is the user on a box: one without any right of its own.
const account = 65534

// boxLab is OpenSSH with a forced command that runs as another user, on a disk
// of 3 MiB.
func boxLab(t *testing.T) *lab {
	if os.Getuid() != 0 {
		t.Skip("needs root: the box has a disk and a user of its own")
	}
	needs(t, "setpriv")
	l, _ := restrictedLab(t)
	disk := filepath.Dir(l.vault)
	must(t, os.Mkdir(disk, 0o700))
	must(t, syscall.Mount("fuseless-test", disk, "tmpfs", 0, "size=3m"))
	l.mounts = append(l.mounts, disk)
	stop := l.stop
	l.stop = func() {
		stop()
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}
	must(t, os.Chmod(l.dir, 0o711)) // rsync goes to the folder by its whole path
	must(t, os.Chmod(l.remote, 0o755))
	must(t, os.Chown(disk, account, account))
	l.forced("exec setpriv --reuid %d --regid %d --clear-groups ", account, account)
	l.fill()
	must(t, filepath.WalkDir(l.source, func(p string, _ os.DirEntry, _ error) error { return os.Lchown(p, account, account) }))
	l.ok("init")
	l.ok("backup")
	return l
}

// forced puts a command before the programs of the box; one that ends with
// "exec " and options is before both.
func (l *lab) forced(format string, args ...any) (mend func()) {
	l.t.Helper()
	file := l.path("sshd/forced")
	b, err := os.ReadFile(file)
	must(l.t, err)
	script := string(b)
	prefix := fmt.Sprintf(format, args...)
	script = strings.Replace(script, `eval "exec `, `eval "`+prefix, 1)
	script = strings.Replace(script, "exec /usr", prefix+"/usr", 1)
	if script == string(b) {
		l.t.Fatal("the box's forced command has another form")
	}
	must(l.t, os.WriteFile(file, []byte(script), 0o700))
	return func() { must(l.t, os.WriteFile(file, b, 0o700)) }
}

// rsyncSays lets the box's rsync say something on standard error and end.
func rsyncSays(words string, code int) func(l *lab) func() {
	return func(l *lab) func() {
		file := l.path("sshd/forced")
		b, err := os.ReadFile(file)
		must(l.t, err)
		lines := strings.Split(string(b), "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, `"rsync --server "`) {
				lines[i] = fmt.Sprintf("\"rsync --server \"*) echo '%s' >&2; exit %d ;;", words, code)
			}
		}
		must(l.t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o700))
		return func() { must(l.t, os.WriteFile(file, b, 0o700)) }
	}
}

// boxConfig changes the ssh configuration; each pair is a line's beginning and
// what the line is to be.
func boxConfig(pairs func(l *lab) [][2]string) func(l *lab) func() {
	return func(l *lab) func() {
		b, err := os.ReadFile(l.ssh)
		must(l.t, err)
		lines := strings.Split(string(b), "\n")
		for _, p := range pairs(l) {
			for i, line := range lines {
				if strings.HasPrefix(strings.TrimSpace(line), p[0]+" ") {
					lines[i] = "  " + p[0] + " " + p[1]
				}
			}
		}
		must(l.t, os.WriteFile(l.ssh, []byte(strings.Join(lines, "\n")), 0o600))
		return func() { must(l.t, os.WriteFile(l.ssh, b, 0o600)) }
	}
}

// anotherKey makes a key of that name in the folder of sshd, and returns its file.
func (l *lab) anotherKey(name string) string {
	l.t.Helper()
	file := l.path("sshd/" + name)
	_ = os.Remove(file)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file).CombinedOutput(); err != nil {
		l.t.Fatal(err, string(out))
	}
	return file
}

// changedHostKey puts another key into known_hosts.
func changedHostKey(l *lab) func() {
	file := l.path("sshd/known_hosts")
	b, err := os.ReadFile(file)
	must(l.t, err)
	public, err := os.ReadFile(l.anotherKey("other") + ".pub")
	must(l.t, err)
	must(l.t, os.WriteFile(file, fmt.Appendf(nil, "# comment\n%s %s", strings.Fields(string(b))[0], public), 0o600))
	return func() { must(l.t, os.WriteFile(file, b, 0o600)) }
}

// larger writes n bytes into the source that do not become fewer on the way.
func larger(l *lab, n int) func() {
	l.write("folder 1/large", strings.Repeat("large", n/5))
	return func() {
		l.remove("folder 1/large")
		for _, p := range filesBelow(l.vault) {
			if filepath.Base(p) == ".fuseless-partial" {
				must(l.t, os.RemoveAll(p)) // makes room, as the hint says
			}
		}
	}
}

// slowRsync puts an rsync into bin, and bin before PATH, that sends slowly.
func (l *lab) slowRsync(bin string) {
	l.t.Helper()
	real, err := exec.LookPath("rsync")
	must(l.t, err)
	must(l.t, os.WriteFile(filepath.Join(bin, "rsync"), fmt.Appendf(nil, `#!/bin/sh
case " $* " in *" --archive "*) exec %[1]s --bwlimit=600 "$@" ;; esac
exec %[1]s "$@"
`, real), 0o755))
	l.env = append(l.env, "PATH="+bin+":"+os.Getenv("PATH"))
}

var remoteFailures = []failure{
	{group: "Remote", what: "nothing listens there", on: box, args: []string{"backup"}, setup: boxConfig(func(l *lab) [][2]string {
		return [][2]string{{"Port", fmt.Sprint(freePort(l.t))}}
	}),
		want: "the remote refuses the connection (HOST): ssh: connect to host 127.0.0.1 port PORT: Connection refused",
		hint: "check the port (a Hetzner Storage Box wants 23) and that the ssh server runs",
		code: proto.Remote},
	{group: "Remote", what: "its name does not exist", on: box, args: []string{"backup"}, setup: boxConfig(func(*lab) [][2]string {
		return [][2]string{{"HostName", "nowhere.invalid"}}
	}),
		want: "the remote's name cannot be resolved (HOST): ssh: Could not resolve hostname nowhere.invalid: Name or service not known",
		hint: "check the destination's spelling and that this machine is online; `ssh HOST` must work",
		code: proto.Remote},
	{group: "Remote", what: "its host key is not known", on: box, args: []string{"backup"}, setup: boxConfig(func(l *lab) [][2]string {
		return [][2]string{{"UserKnownHostsFile", "/dev/null"}}
	}),
		want: "the remote's host key is not known yet (HOST): it shows the key ssh-ed25519 FINGERPRINT, and /dev/null has none",
		hint: "run `ssh HOST` once and compare the fingerprint",
		code: proto.Remote},
	{group: "Remote", what: "its host key is not known, and a view is to be opened", on: box, args: []string{"remoteMount"}, setup: boxConfig(func(l *lab) [][2]string {
		return [][2]string{{"UserKnownHostsFile", "/dev/null"}}
	}),
		want: "the remote's host key is not known yet (HOST): it shows the key ssh-ed25519 FINGERPRINT, and /dev/null has none",
		hint: "run `ssh HOST` once and compare the fingerprint",
		code: proto.Remote},
	{group: "Remote", what: "its host key has changed", on: box, args: []string{"backup"}, setup: changedHostKey,
		want: "the remote's host key is not the one that is known (HOST): it shows the key ssh-ed25519 FINGERPRINT, and another one is in LAB/sshd/known_hosts:LINE",
		hint: "either the server was set up anew or someone is in between; compare the fingerprint with the one its operator publishes, then remove the old key with `ssh-keygen -R`",
		code: proto.Remote},
	{group: "Remote", what: "it does not accept the key", on: box, args: []string{"backup"}, setup: boxConfig(func(l *lab) [][2]string {
		return [][2]string{{"IdentityFile", l.anotherKey("other")}}
	}),
		want: "the remote does not accept a key of this user (HOST): root@127.0.0.1: Permission denied (publickey).",
		hint: "`ssh HOST` must work without a question: add the key to the agent (ssh-add), and to the remote (ssh-copy-id)",
		code: proto.Remote},
	{group: "Remote", what: "it has no rsync", on: box, args: []string{"backup"}, setup: rsyncSays("sh: 1: rsync: not found", 127),
		want: "the remote has no rsync (HOST): sh: 1: rsync: not found",
		hint: "install rsync there",
		code: proto.Remote},
	{group: "Remote", what: "the vault there may not be written", on: box, args: []string{"backup"}, setup: func(l *lab) func() {
		l.write("new", "new")
		must(l.t, os.Chown(l.vault, 0, 0))
		must(l.t, os.Chmod(l.vault, 0o755))
		return func() {
			l.remove("new")
			must(l.t, os.Chown(l.vault, account, account))
			must(l.t, os.Chmod(l.vault, 0o700))
		}
	}, grows: true,
		says: []string{"not backed up: the remote: mkstemp failed: Permission denied (13): new"},
		want: "the backup of photos is incomplete: some files were not transferred; nothing was deleted",
		hint: "they are listed above; mend what keeps them from being read or written, and run it again",
		code: proto.Incomplete},
	{group: "Remote", what: "the vault there may not be entered", on: box, args: []string{"backup"}, setup: func(l *lab) func() {
		must(l.t, os.Chmod(l.vault, 0))
		return func() { must(l.t, os.Chmod(l.vault, 0o700)) }
	}, grows: true,
		want: "cannot read the configuration in DESTINATION: permission denied",
		hint: "check that you may enter the folder and read it there",
		code: proto.Remote},
	{group: "Remote", what: "the vault cannot be made there", on: box, args: []string{"backup"},
		setup: func(l *lab) func() {
			variableOf("DESTINATION", func(l *lab) string { return l.alias + ":/fuseless-nowhere/" + vaultName })(l)
			env := l.env
			return func() { // else the vault counts as one that is not known
				l.env = env[:len(env)-1]
				l.ok("backup")
			}
		}, grows: true,
		want: "cannot make DESTINATION: mkdir /fuseless-nowhere: permission denied",
		hint: "make the folder by hand, or check who may write there",
		code: proto.Remote},
	{group: "Remote", what: "its disk gets full in the middle", on: box, args: []string{"backup"}, setup: func(l *lab) func() {
		return larger(l, 6<<20)
	}, grows: true,
		want: `the remote's disk is full: rsync: [receiver] write failed on "REMOTE/ENCRYPTED": No space left on device (28)`,
		hint: "make room there, as by removing old runs from the trash beside the vault, and run it again; what has arrived is not sent again",
		code: proto.NoSpace},
	{group: "Remote", what: "its quota is used up", on: box, args: []string{"backup"}, setup: quota, grows: true,
		want: `the remote's quota is used up: rsync: [receiver] write failed on "REMOTE/ENCRYPTED": Disk quota exceeded (122)`,
		hint: "make room there, as by removing old runs from the trash beside the vault, and run it again; what has arrived is not sent again",
		code: proto.NoSpace},
	{group: "Remote", what: "its file system is read-only", on: box, args: []string{"backup"}, setup: func(l *lab) func() {
		l.write("new", "new")
		disk := filepath.Dir(l.vault)
		must(l.t, syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		return func() {
			l.remove("new")
			must(l.t, syscall.Mount("", disk, "", syscall.MS_REMOUNT, ""))
		}
	}, grows: true,
		says: []string{"not backed up: the remote: mkstemp failed: Read-only file system (30): new"},
		want: "the backup of photos is incomplete: some files were not transferred; nothing was deleted",
		hint: "they are listed above; mend what keeps them from being read or written, and run it again",
		code: proto.Incomplete},
}
