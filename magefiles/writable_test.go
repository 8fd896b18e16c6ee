//go:build linux

package main_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// writableLab has a vault that is written to, and that is not made yet.
func writableLab(t *testing.T) *lab {
	t.Helper()
	needsDavFS(t)
	l, _ := restrictedLab(t)
	l.configureWith("    writable: true\n")
	return l
}

// inView writes what is to be in the vault into the folder dir of this machine.
func (l *lab) inView(dir string, want map[string][]byte) {
	l.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		p := filepath.Join(dir, name)
		must(l.t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(l.t, os.WriteFile(p, want[name], 0o644))
	}
}

// holds fails unless below dir there are the files of want and no others.
func (l *lab) holds(dir string, want map[string][]byte) {
	l.t.Helper()
	got := map[string][]byte{}
	for _, p := range filesBelow(dir) {
		rel, err := filepath.Rel(dir, p)
		must(l.t, err)
		if fi, err := os.Lstat(p); err == nil && fi.Mode().IsRegular() {
			got[rel] = read(l.t, p)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok && name != "lost+found" {
			l.t.Errorf("%s: %q is there, and should not", dir, name)
		}
	}
	for name, b := range want {
		if !bytes.Equal(got[name], b) {
			l.t.Errorf("%s: %q has %d bytes, not the %d that were written", dir, name, len(got[name]), len(b))
		}
	}
}

// TestWritable: files are written into a vault through the folder on the host, changed,
// renamed and deleted there; after `close` they are in the vault, and nowhere else.
func TestWritable(t *testing.T) {
	t.Parallel()
	l := writableLab(t)
	r := l.ok("init")
	if !strings.Contains(r.stderr, "initialised: "+l.alias+":backup/"+vaultName) || !strings.Contains(r.stderr, "the master key is not shown") {
		t.Errorf("init: %s", r)
	}
	if r := l.ok("init"); !strings.Contains(r.stderr, "is initialised already") {
		t.Errorf("init again: %s", r)
	}
	for _, name := range []string{gocryptfs.ConfigName, gocryptfs.DirIVName} {
		if _, err := os.Stat(filepath.Join(l.vault, name)); err != nil {
			t.Error(err)
		}
	}

	if r := l.ok("open"); !strings.Contains(r.stderr, "for reading and writing") {
		t.Errorf("open: %s", r)
	}
	if s := l.status(); !s.Writable || s.View == nil || !s.View.Writable {
		t.Errorf("status: %+v", s)
	}
	want := map[string][]byte{
		"note.txt":                 []byte("one\n"),
		"empty":                    {},
		"Übung/ein Ordner/größer":  bytes.Repeat([]byte("0123456789abcdef"), 330_000),
		strings.Repeat("long", 50): []byte("a long name"),
		"gone":                     []byte("is deleted"),
		"before":                   []byte("is renamed"),
	}
	l.inView(l.mnt, want)
	must(t, os.WriteFile(filepath.Join(l.mnt, "note.txt"), []byte("two, and longer\n"), 0o644))
	want["note.txt"] = []byte("two, and longer\n")
	must(t, os.Remove(filepath.Join(l.mnt, "gone")))
	delete(want, "gone")
	must(t, os.Rename(filepath.Join(l.mnt, "before"), filepath.Join(l.mnt, "Übung/after")))
	want["Übung/after"] = want["before"]
	delete(want, "before")
	l.holds(l.mnt, want)

	to := l.path("restored")
	for _, target := range [][]string{{"unserve"}, {"verify", "-data"}, {"restore", "-to=" + to}} {
		l.refused(proto.Busy, target, "fuseless close")
	}
	l.ok("close")
	for _, s := range lasting(l.left) {
		t.Error("left: ", s)
	}
	l.ok("restore", "-to="+to)
	l.holds(to, want)
	l.ok("verify", "-data")

	l.ok("open")
	l.holds(l.mnt, want)
	l.configureWith("") // read-only from now on
	l.refused(proto.Busy, []string{"open"}, "fuseless close")
	l.refused(proto.Busy, []string{"unserve"}, "fuseless close")
	l.ok("close")
	l.ok("open")
	l.holds(l.mnt, want)
	if err := os.WriteFile(filepath.Join(l.mnt, "new"), nil, 0o644); err == nil {
		t.Error("a read-only view is written to")
	}
	l.ok("close")
}

// TestWritableRefuses: what would lose files, or is not meant, is refused, and
// leaves nothing.
func TestWritableRefuses(t *testing.T) {
	t.Parallel()
	l := writableLab(t)
	for range 2 { // without and with the folder
		l.refused(proto.Vault, []string{"open"}, "there is no vault", "`fuseless init` makes a new vault")
		must(t, os.MkdirAll(l.vault, 0o700))
	}
	l.refused(proto.Config, []string{"backup"}, "written to directly")
	must(t, os.MkdirAll(filepath.Join(l.vault, "other"), 0o700))
	l.refused(proto.Vault, []string{"init"}, "holds other files and no vault")
	must(t, os.Remove(filepath.Join(l.vault, "other")))

	// A backup of a folder lies there.
	l.configure()
	l.write("letter", "of the source")
	l.ok("init")
	l.ok("backup")
	before := l.onRemote()
	l.configureWith("    writable: true\n")
	l.refused(proto.Vault, []string{"init"}, "the next backup would delete")
	l.refused(proto.Vault, []string{"open"}, "the next backup would delete")
	l.unchanged("the refusal", before)
	for _, s := range lasting(l.left) {
		t.Error("left: ", s)
	}
}

// TestWritableInit: an init that was interrupted after the configuration was
// written is gone on with, and keeps that configuration.
func TestWritableInit(t *testing.T) {
	t.Parallel()
	l := writableLab(t)
	l.ok("init")
	conf := read(t, filepath.Join(l.vault, gocryptfs.ConfigName))
	for _, broken := range []func(name string) error{os.Remove, func(name string) error { return os.Truncate(name, 0) }} {
		must(t, broken(filepath.Join(l.vault, gocryptfs.DirIVName)))
		l.ok("init")
		if again := read(t, filepath.Join(l.vault, gocryptfs.ConfigName)); !bytes.Equal(again, conf) {
			t.Error("the configuration is another one")
		}
	}
	l.ok("open")
	l.inView(l.mnt, map[string][]byte{"a": []byte("b")})
	l.ok("close")
	iv := read(t, filepath.Join(l.vault, gocryptfs.DirIVName))
	l.ok("init")
	if !bytes.Equal(read(t, filepath.Join(l.vault, gocryptfs.DirIVName)), iv) {
		t.Error("the directory IV of a vault with files was replaced")
	}
	// A disk that is not there is not taken for a vault that lost its configuration.
	must(t, os.Rename(l.vault, l.vault+".away"))
	l.refused(proto.Vault, []string{"open"}, "there is no vault")
	l.refused(proto.Vault, []string{"init"}, "there is no vault at", "is its disk mounted")
	gone(t, l.vault)
	must(t, os.Rename(l.vault+".away", l.vault))
	// A copy of another vault's is kept besides.
	copies, err := filepath.Glob(filepath.Join(l.home, ".local/state/fuseless/*/gocryptfs.reverse.conf"))
	must(t, err)
	if len(copies) != 1 {
		t.Fatalf("copies: %v", copies)
	}
	must(t, os.WriteFile(copies[0], []byte("of another"), 0o600))
	l.ok("init")
	others, err := filepath.Glob(copies[0] + ".replaced-*")
	must(t, err)
	if len(others) != 1 || string(read(t, others[0])) != "of another" {
		t.Errorf("kept besides: %v", others)
	}
	// A configuration that is lost comes back from the copy.
	must(t, os.Remove(filepath.Join(l.vault, gocryptfs.ConfigName)))
	l.ok("open")
	l.holds(l.mnt, map[string][]byte{"a": []byte("b")})
	l.ok("close")
	// From now on it is a backup, elsewhere.
	must(t, os.Rename(l.vault, l.vault+".written"))
	l.configure()
	l.write("letter", "of the source")
	l.ok("init")
	l.ok("backup")
}

// sftpWithout takes an extension from the box's sftp (sftp-server(8), -P).
func (l *lab) sftpWithout(extension string) (mend func()) {
	l.t.Helper()
	file := l.path("sshd/forced")
	b := read(l.t, file)
	script := strings.Replace(string(b), "exec /usr/lib/openssh/sftp-server", "exec /usr/lib/openssh/sftp-server -P "+extension, 1)
	if script == string(b) {
		l.t.Fatal("the box's forced command has another form")
	}
	must(l.t, os.WriteFile(file, []byte(script), 0o700))
	return func() { must(l.t, os.WriteFile(file, b, 0o700)) }
}

// TestWritableLesserServers: what a remote cannot do is said before anything is
// written, or lost.
func TestWritableLesserServers(t *testing.T) {
	t.Parallel()
	l := writableLab(t)
	l.ok("init")
	mend := l.sftpWithout("posix-rename")
	l.refused(proto.Remote, []string{"open"}, "cannot write into the vault", "posix-rename@openssh.com")
	for _, s := range lasting(l.left) {
		t.Error("left: ", s)
	}
	mend()
	mend = l.sftpWithout("fsync")
	if r := l.run("open"); r.code != proto.OK || !strings.Contains(r.stderr, "warning: the remote cannot be asked to put a file on its disk") {
		t.Errorf("open: %s", r)
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(l.commands())), func(c string) bool { return strings.Contains(c, "sshfs_sync") }) {
		t.Error("sshfs does not wait for its answers")
	}
	l.ok("close")
	mend()
	l.ok("open")
	l.ok("close")
}

// TestWritableOutOfOrder: a server of sftp that does not keep to the order of what it
// is asked (the throwaway one, pkg/sftp) gets a large file all the same, and it
// is said that it promises less.
func TestWritableOutOfOrder(t *testing.T) {
	t.Parallel()
	needsDavFS(t)
	l := newLab(t)
	l.configureWith("    writable: true\n")
	l.ok("init")
	if r := l.run("open"); r.code != proto.OK || !strings.Contains(r.stderr, "warning: the remote cannot be asked to put a file on its disk") {
		t.Errorf("open: %s", r)
	}
	want := map[string][]byte{"film": bytes.Repeat([]byte("0123456789abcde\n"), 2<<20)}
	l.inView(l.mnt, want)
	l.ok("close")
	to := l.path("restored")
	l.ok("restore", "-to="+to)
	l.holds(to, want)
}
