//go:build linux

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/mounts"
	"fuseless/guest/proto"
)

func (l *lab) keyFile() string { return filepath.Join(l.source, gocryptfs.ReverseConfigName) }

// stockInit makes a vault's configuration in dir as a person does by hand.
func (l *lab) stockInit(dir, passFile string) {
	l.t.Helper()
	if out, err := exec.Command("gocryptfs", "-q", "-init", "-reverse", "-passfile", passFile, "--", dir).CombinedOutput(); err != nil {
		l.t.Fatalf("gocryptfs -init -reverse: %v: %s", err, out)
	}
}

// TestInit: it makes a vault once, and keeps its hands off what is there.
func TestInit(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.fill()
	l.refused(proto.Vault, []string{"backup"}, "is not initialised", "fuseless init")
	gone(t, l.keyFile())
	gone(t, l.vault)

	r := l.ok("init")
	key, err := os.ReadFile(l.keyFile())
	must(t, err)
	if !strings.Contains(r.stderr, "master key is not shown") || strings.Contains(r.stdout+r.stderr, l.masterKey()) {
		t.Errorf("without a terminal the master key is nobody's business: %s", r)
	}
	if r := l.ok("init"); !strings.Contains(r.stderr, "is initialised already") {
		t.Errorf("a second init: %s", r)
	}
	l.ok("backup")
	l.ok("init")
	if again, err := os.ReadFile(l.keyFile()); err != nil || !bytes.Equal(again, key) {
		t.Errorf("a second init changed the configuration (%v)", err)
	}
	l.sameAsSource()
}

// masterKey is the vault's, in hexadecimal.
func (l *lab) masterKey() string {
	l.t.Helper()
	c := exec.Command("gocryptfs-xray", "-dumpmasterkey", l.keyFile())
	c.Stdin = strings.NewReader(passphrase + "\n")
	out, err := c.Output()
	must(l.t, err)
	f := strings.Fields(string(out))
	return f[len(f)-1]
}

// TestInitOnTerminal: a backup offers what is missing, and the master key is
// shown on the terminal.
func TestInitOnTerminal(t *testing.T) {
	l := newLab(t)
	l.fill()
	const question = "The vault photos is new. Make its configuration now?"
	if shown, code := l.onTerminal(question, "n", "backup"); code != proto.Vault {
		t.Errorf("n: %d %s", code, shown)
	}
	gone(t, l.keyFile())
	shown, code := l.onTerminal(question, "y", "backup")
	if code != proto.OK {
		t.Fatalf("y: %d %s", code, shown)
	}
	if key := l.masterKey(); len(key) != 64 || !strings.Contains(strings.ReplaceAll(shown, "-", ""), key) {
		t.Errorf("the master key %q is not shown: %s", key, shown)
	}
	if strings.Contains(shown, passphrase) {
		t.Error("the terminal shows the passphrase")
	}
	l.sameAsSource()
}

// TestForeignDestination: a folder that is not this vault's is left alone.
func TestForeignDestination(t *testing.T) {
	t.Parallel()
	t.Run("other files", func(t *testing.T) {
		l := newLab(t)
		l.fill()
		must(t, os.MkdirAll(l.vault, 0o700))
		must(t, os.WriteFile(filepath.Join(l.vault, "thesis"), []byte("the only copy"), 0o600))
		before := l.onRemote()
		l.refused(proto.Vault, []string{"init"}, "holds other files and no vault")
		gone(t, l.keyFile())
		l.stockInit(l.source, l.passFile())
		l.refused(proto.Vault, []string{"backup"}, "holds other files and no vault")
		l.refused(proto.Vault, []string{"backup", "-dryRun"}, "holds other files and no vault")
		l.unchanged("refused", before)
	})
	for _, c := range []struct{ name, passphrase string }{
		{"another source's vault", passphrase}, {"and another passphrase", "quite another"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t).started()
			before := l.onRemote()
			l.source = l.path("second")
			must(t, os.Mkdir(l.source, 0o700))
			l.write("file", "of the second source")
			l.configure()
			must(t, os.WriteFile(l.passFile(), []byte(c.passphrase+"\n"), 0o600))
			l.stockInit(l.source, l.passFile())
			l.refused(proto.Vault, []string{"backup"}, "is the vault of another source")
			l.unchanged("refused", before)
		})
	}
}

// TestWrongPassphrase: 12, and nothing stays mounted. The other targets are in
// TestFailures.
func TestWrongPassphrase(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	before := l.onRemote()
	must(t, os.WriteFile(l.passFile(), []byte("wrong\n"), 0o600))
	for _, args := range [][]string{{"open"}, {"restore", "-to=" + filepath.Join(l.dir, "no")}} {
		l.refused(proto.Passphrase, args, "the passphrase is wrong")
		if points, err := mounts.Below(l.mem); err != nil || len(points) > 0 {
			t.Errorf("%v leaves %v mounted (%v)", args, points, err)
		}
	}
	gone(t, filepath.Join(l.dir, "no"))
	_ = os.RemoveAll(filepath.Join(l.dir, "no.fuseless-restoring")) // kept for the next try, as it says
	l.unchanged("a wrong passphrase", before)
}

// TestRemoteDown: 14, nothing stays mounted, and later it goes on.
func TestRemoteDown(t *testing.T) {
	l := newLab(t).started()
	l.write("folder 0/new", "waits for the remote")
	to := l.path("to")
	targets := [][]string{{"backup"}, {"backup", "-dryRun"}, {"remoteMount"}, {"restore", "-to=" + to}}
	l.server.Refuse(true)
	for _, args := range targets {
		l.refused(proto.Remote, args)
	}
	l.server.Refuse(false)
	l.ok("backup")
	l.sameAsSource()
	must(t, l.server.Close())
	for _, args := range targets {
		l.refused(proto.Remote, args, "refuses the connection")
	}
	gone(t, to)
	if points, err := mounts.Below(l.mem); err != nil || len(points) > 0 {
		t.Errorf("still mounted: %v (%v)", points, err)
	}
	// Looking and taking down need no remote.
	l.ok("status")
	l.ok("down")
}

// TestTwoAtOnce: the second run is refused with the first one's pid.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	l.write("folder 0/new", "new")
	// The first run waits for its passphrase, which comes from a FIFO.
	must(t, os.Remove(l.passFile()))
	must(t, syscall.Mkfifo(l.passFile(), 0o600))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	first := l.command(ctx, "backup")
	var stderr bytes.Buffer
	first.Stderr = &stderr
	must(t, first.Start())
	pass, err := os.OpenFile(l.passFile(), os.O_WRONLY, 0) // returns when it asks
	must(t, err)
	for _, args := range [][]string{{"backup"}, {"backup", "-dryRun"}, {"restore", "-to=" + filepath.Join(l.dir, "no")}, {"init"}, {"down"}} {
		l.refused(proto.Busy, args, fmt.Sprintf("pid %d", first.Process.Pid))
	}
	l.ok("status")
	_, err = pass.WriteString(passphrase + "\n")
	must(t, err)
	must(t, pass.Close())
	if code := exitCode(t, first.Wait()); code != proto.OK {
		t.Errorf("the first run: %d: %s", code, stderr.String())
	}
	must(t, os.Remove(l.passFile()))
	must(t, os.WriteFile(l.passFile(), []byte(passphrase), 0o600))
	l.ok("backup")
	l.nothingSent()
}

// TestAdoption: a vault that was made by hand with stock gocryptfs and rsync is
// taken as it is.
func TestAdoption(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.fill()
	l.stockInit(l.source, l.passFile())
	image := filepath.Join(l.mem, "image")
	must(t, os.Mkdir(image, 0o700))
	must(t, os.MkdirAll(l.vault, 0o700))
	for _, argv := range [][]string{
		{"gocryptfs", "-q", "-ro", "-reverse", "-passfile", l.passFile(), "--", l.source, image},
		{"rsync", "-a", "--delete", image + "/", l.vault},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	unmount(t, image)
	must(t, os.Remove(image))
	before, source := l.onRemote(), snapshot(t, l.source)
	if r := l.ok("init"); !strings.Contains(r.stderr, "is initialised already") {
		t.Errorf("init of an existing vault: %s", r)
	}
	l.ok("backup")
	l.nothingSent()
	l.kept("adopted", before)
	same(t, "the source", source, snapshot(t, l.source))
	l.write("folder 0/file 0", "this differs")
	l.ok("backup")
	if r := l.last(); r.Transferred != 1 {
		t.Errorf("one file differs: %+v", r)
	}
	l.sameAsSource()
}
