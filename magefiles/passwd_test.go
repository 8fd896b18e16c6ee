//go:build linux

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/rundir"
	"fuseless/magefiles/state"
)

// changed is the passphrase that the tests change to.
const changed = "quite a new one: 90a2f3"

// twice answers the questions for a new passphrase.
func twice(pass string) []line {
	return []line{{question: "new passphrase of vault photos: ", answer: pass}, {question: "the same again: ", answer: pass}}
}

func (l *lab) stateDir() string {
	return filepath.Join(l.home, ".local/state/fuseless", vaultName+"-"+rundir.Instance(l.configFile()))
}

func (l *lab) copyFile() string  { return filepath.Join(l.stateDir(), "gocryptfs.reverse.conf") }
func (l *lab) vaultConf() string { return filepath.Join(l.vault, gocryptfs.ConfigName) }

// setPass changes what the passphrase command prints.
func (l *lab) setPass(pass string) {
	l.t.Helper()
	must(l.t, os.WriteFile(l.passFile(), []byte(pass+"\n"), 0o600))
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	return b
}

// keyIn is the master key in a configuration, or "" if pass does not open it.
func keyIn(t *testing.T, conf, pass string) string {
	t.Helper()
	c := exec.Command("gocryptfs-xray", "-dumpmasterkey", conf)
	c.Stdin = strings.NewReader(pass + "\n")
	out, err := c.Output()
	var x *exec.ExitError
	if errors.As(err, &x) {
		return ""
	}
	must(t, err)
	f := strings.Fields(string(out))
	return f[len(f)-1]
}

// follows fails unless source, copy and vault have one configuration, which
// opens with pass to key.
func (l *lab) follows(pass, key string) {
	l.t.Helper()
	want := read(l.t, l.keyFile())
	for _, name := range []string{l.keyFile(), l.copyFile(), l.vaultConf()} {
		if !bytes.Equal(read(l.t, name), want) {
			l.t.Errorf("%s is another configuration than the source's", name)
		}
		if fi, err := os.Stat(name); err != nil || name != l.copyFile() && fi.Mode().Perm() != 0o400 {
			l.t.Errorf("%s: %v %v", name, fi.Mode(), err)
		}
	}
	if got := keyIn(l.t, l.keyFile(), pass); got != key {
		l.t.Errorf("the new passphrase opens it to another master key, or not at all (%d digits)", len(got))
	}
	gone(l.t, l.keyFile()+".fuseless-new")
	gone(l.t, filepath.Join(l.stateDir(), "passwd.json"))
	for _, p := range filesBelow(l.trash) {
		if strings.HasPrefix(filepath.Base(p), ".fuseless-") {
			l.t.Error("left in the trash: ", p)
		}
	}
}

// TestPasswd: source, copy and vault follow at once, an open view goes on, and
// the old configuration is in the trash.
func TestPasswd(t *testing.T) {
	for name, lab := range map[string]func(*testing.T) *lab{"remote": newLab, "local": localLab} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab(t).started()
			key, old := l.masterKey(), read(t, l.keyFile())
			before := l.onRemote()
			r := l.ends(proto.Terminal, "passwd")
			if !strings.Contains(r.stderr, "is asked for on a terminal") || !strings.Contains(r.stderr, "hint: ") {
				t.Errorf("without a terminal: %s", r)
			}
			l.setPass("not the one")
			shown, code := l.talk(append(twice(changed), line{question: "passphrase of vault photos: ", answer: "nor this"}), "passwd")
			if code != proto.Passphrase || !strings.Contains(shown, "the passphrase is wrong") || !strings.Contains(shown, "fuseless recover") {
				t.Errorf("a wrong passphrase: %d %s", code, shown)
			}
			l.unchanged("refused", before)
			l.setPass(passphrase)

			l.ok("remoteMount")
			spy := watch(t, changed, passphrase)
			shown, code = l.talk(twice(changed), "passwd")
			unseen(t, spy)
			if code != proto.OK || !strings.Contains(shown, "the passphrase is changed") || !strings.Contains(shown, "now change what `cat") {
				t.Fatalf("passwd: %d %s", code, shown)
			}
			if strings.Contains(shown, changed) {
				t.Error("the terminal shows the new passphrase")
			}
			l.follows(changed, key)
			if b, err := os.ReadFile(filepath.Join(l.runDir(), "view/folder 1/file 1")); err != nil || string(b) != "this is file 1\n" {
				t.Errorf("the open view shows %q (%v)", b, err)
			}
			l.ok("remoteUnmount")
			kept, _ := filepath.Glob(filepath.Join(l.trash, "2*", gocryptfs.ConfigName))
			if len(kept) != 1 || !bytes.Equal(read(t, kept[0]), old) {
				t.Errorf("in the trash: %q", kept)
			}
			l.refused(proto.Passphrase, []string{"backup"}, "the passphrase is wrong")
			l.refused(proto.Passphrase, []string{"remoteMount"}, "the passphrase is wrong")
			l.setPass(changed)
			l.ok("backup")
			l.nothingSent()
			l.sameAsSource()
			if found := holding([]string{changed, passphrase, key}, l.home, l.remote, l.source); len(found) > 0 {
				t.Errorf("a secret is in %q", found)
			}
		})
	}
}

// TestPasswdWithoutSource: of a vault that is only looked at the remote's
// configuration changes, and the machine with the source is told.
func TestPasswdWithoutSource(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	key, old := l.masterKey(), read(t, l.keyFile())
	l.configureWith("")
	must(t, os.RemoveAll(filepath.Join(l.home, ".local")))
	home := filepath.Join(l.home, ".local")
	shown, code := l.talk(twice(changed), "passwd")
	if code != proto.OK {
		t.Fatalf("passwd: %d %s", code, shown)
	}
	if keyIn(t, l.vaultConf(), changed) != key || !bytes.Equal(read(t, l.keyFile()), old) {
		t.Error("not the vault's configuration alone has changed")
	}
	l.setPass(changed)
	l.ok("restore", "-to="+l.path("restored"))
	if b := read(t, l.path("restored/folder 1/file 1")); string(b) != "this is file 1\n" {
		t.Errorf("restored: %q", b)
	}

	// The machine with the source: its last backup left the old configuration.
	must(t, os.RemoveAll(home))
	l.configure()
	mixed := read(t, l.vaultConf())
	must(t, os.Remove(l.vaultConf()))
	must(t, os.WriteFile(l.vaultConf(), old, 0o400))
	l.setPass(passphrase)
	l.ok("backup")
	must(t, os.Remove(l.vaultConf()))
	must(t, os.WriteFile(l.vaultConf(), mixed, 0o400))
	before := l.onRemote()
	l.refused(proto.Vault, []string{"backup"}, "is not the one that the last backup left there", "fuseless passwd")
	l.setPass(changed)
	l.refused(proto.Passphrase, []string{"backup"}, "the passphrase is wrong there, but opens the vault", "fuseless passwd")
	l.unchanged("refused", before)
	const third = "the third one: 11b0"
	if shown, code := l.talk(twice(third), "passwd"); code != proto.OK {
		t.Fatalf("passwd: %d %s", code, shown)
	}
	l.follows(third, key)
	l.setPass(third)
	l.ok("backup")
	l.nothingSent()
}

// opensEach fails unless every configuration is whole and opens with the old or
// the new passphrase.
func (l *lab) opensEach(key string) {
	l.t.Helper()
	for _, name := range []string{l.keyFile(), l.copyFile(), l.vaultConf()} {
		if keyIn(l.t, name, passphrase) != key && keyIn(l.t, name, changed) != key {
			l.t.Errorf("%s does not open any more", name)
		}
	}
}

// killedAt runs passwd and kills it when it has shown text for the n-th time.
func (l *lab) killedAt(text string, n int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := l.command(ctx, "passwd")
	c.SysProcAttr.Setctty = true
	tty, err := pty.StartWithAttrs(c, &pty.Winsize{Rows: 40, Cols: 200}, c.SysProcAttr)
	must(l.t, err)
	defer tty.Close()
	shown, asked := "", twice(changed)
	buf := make([]byte, 4096)
	for err == nil && strings.Count(shown, text) < n {
		var got int
		got, err = tty.Read(buf)
		shown += string(buf[:got])
		if len(asked) > 0 && strings.Contains(shown, asked[0].question) {
			_, werr := io.WriteString(tty, asked[0].answer+"\n")
			must(l.t, werr)
			asked = asked[1:]
		}
	}
	if err != nil {
		l.t.Errorf("%q is not shown %d times: %s", text, n, shown)
	}
	all := descendants(c.Process.Pid)
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = c.Wait()
}

// TestPasswdKilled: wherever it is killed, every configuration opens with one of
// the two passphrases, and passwd once more makes it one.
func TestPasswdKilled(t *testing.T) {
	t.Parallel()
	l := localLab(t).started()
	key, old := l.masterKey(), read(t, l.keyFile())
	for _, at := range []struct {
		text string
		n    int
	}{{"working on the vault", 1}, {"looking at the destination", 2}, {"putting the configuration", 1}} {
		// As it was before.
		l.setPass(passphrase)
		for _, name := range []string{l.keyFile(), l.copyFile(), l.vaultConf()} {
			must(t, os.Remove(name))
			must(t, os.WriteFile(name, old, 0o400))
		}
		must(t, os.Chmod(l.copyFile(), 0o600))
		l.ok("backup")
		l.killedAt(at.text, at.n)
		l.opensEach(key)
		_, err := os.Stat(filepath.Join(l.stateDir(), "passwd.json"))
		noted := err == nil
		late := !noted && keyIn(t, l.keyFile(), changed) == key // it was done before it could be stopped
		if want := at.n > 1 || at.text[0] == 'p'; noted != want && !late {
			t.Errorf("killed at %q, %d: noted is %v", at.text, at.n, noted)
		}
		if noted || late {
			l.setPass(changed)
		}
		shown, code := l.talk(twice(changed), "passwd")
		if code != proto.OK || err == nil && !strings.Contains(shown, "is complete now") {
			t.Errorf("killed at %q: %d %s", at.text, code, shown)
		}
		l.follows(changed, key)
		l.setPass(changed)
		l.ok("backup")
		l.follows(changed, key)
	}
	l.ok("backup")
	l.nothingSent()
	l.sameAsSource()
}

// TestPasswdGoesOn: from every state in which a crash can leave the files, the
// next run of anything goes on to the same end.
func TestPasswdGoesOn(t *testing.T) {
	t.Parallel()
	l := localLab(t).started()
	key, old := l.masterKey(), read(t, l.keyFile())
	last := read(t, filepath.Join(l.stateDir(), "last.json"))
	if shown, code := l.talk(twice(changed), "passwd"); code != proto.OK {
		t.Fatalf("passwd: %d %s", code, shown)
	}
	l.setPass(changed)
	next := read(t, l.keyFile())
	stamp := "20261123T010203004Z"
	pending, err := json.Marshal(state.Pending{
		Time: time.Now().Truncate(time.Second), Stamp: stamp, Config: next, Source: old, Remote: old, Vault: true, Destination: l.vault,
	})
	must(t, err)
	to := l.path("to")
	for i, c := range []struct {
		what   string
		s      []byte
		c, r   []byte
		extra  func()
		target []string
	}{
		{"noted", old, old, old, nil, []string{"backup"}},
		{"source half-written", old, old, old, func() { put(t, l.keyFile()+".fuseless-new", next[:100]) }, []string{"restore", "-to=" + to}},
		{"source done", next, old, old, nil, []string{"remoteMount"}},
		{"copy done", next, next, old, nil, []string{"backup"}},
		{"uploaded in part", next, next, old, func() { put(t, filepath.Join(l.trash, ".fuseless-probe-conf-"+stamp), next[:50]) }, []string{"init"}},
		{"the old one kept", next, next, old, func() {
			must(t, os.MkdirAll(filepath.Join(l.trash, stamp), 0o700))
			put(t, filepath.Join(l.trash, stamp, gocryptfs.ConfigName), old)
		}, []string{"backup"}},
		{"vault done", next, next, next, nil, []string{"backup"}},
		{"the vault's lost", next, next, nil, nil, []string{"backup"}},
	} {
		_ = os.RemoveAll(filepath.Join(l.trash, stamp))
		put(t, l.keyFile(), c.s)
		put(t, l.copyFile(), c.c)
		must(t, os.Chmod(l.copyFile(), 0o600))
		if _ = os.Remove(l.vaultConf()); c.r != nil {
			put(t, l.vaultConf(), c.r)
		}
		put(t, filepath.Join(l.stateDir(), "last.json"), last)
		put(t, filepath.Join(l.stateDir(), "passwd.json"), pending)
		if c.extra != nil {
			c.extra()
		}
		r := l.ok(c.target...)
		if !strings.Contains(r.stderr, "is complete now") {
			t.Errorf("%s: %s", c.what, r)
		}
		l.follows(changed, key)
		if kept, err := os.ReadFile(filepath.Join(l.trash, stamp, gocryptfs.ConfigName)); i < 6 && (err != nil || !bytes.Equal(kept, old)) {
			t.Errorf("%s: the old one is not in the trash (%v)", c.what, err)
		}
		if c.target[0] == "remoteMount" {
			l.ok("remoteUnmount")
		}
	}
	l.ok("backup")
	l.sameAsSource()

	// Without the note, as on another machine: the source is ahead of the vault.
	put(t, l.vaultConf(), old)
	must(t, os.RemoveAll(l.stateDir()))
	if r := l.run("backup"); r.code != proto.OK || !strings.Contains(r.stderr, "if the passphrase was changed by another machine, that change is undone") {
		t.Errorf("it must say that it cannot know which of the two is newer: %s", r)
	}
	if keyIn(t, l.vaultConf(), changed) != key {
		t.Error("a backup does not bring the source's passphrase")
	}
}

// TestPasswdRefused: what would fail in the middle fails before anything is
// changed.
func TestPasswdRefused(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	l := localLab(t).started()
	same := func(what string, want proto.Code, says string) {
		t.Helper()
		before, _ := os.ReadFile(l.vaultConf())
		s, c := read(t, l.keyFile()), read(t, l.copyFile())
		shown, code := l.talk(twice(changed), "passwd")
		if code != want || !strings.Contains(shown, says) || !strings.Contains(shown, "hint: ") {
			t.Errorf("%s: %d %s", what, code, shown)
		}
		if after, _ := os.ReadFile(l.vaultConf()); !bytes.Equal(after, before) || !bytes.Equal(read(t, l.keyFile()), s) || !bytes.Equal(read(t, l.copyFile()), c) {
			t.Errorf("%s: something was changed", what)
		}
		gone(t, filepath.Join(l.stateDir(), "passwd.json"))
	}
	aside := l.vault + ".aside"
	must(t, os.Rename(l.vault, aside))
	same("no vault", proto.Vault, "the vault is no longer at")
	l.foreignVault(passphrase)
	same("another source's", proto.Vault, "is the vault of another source: the passphrase opens both")
	must(t, os.RemoveAll(l.vault))
	l.foreignVault("quite another")
	same("another source's and passphrase", proto.Vault, "nothing proves that")
	must(t, os.RemoveAll(l.vault))
	must(t, os.Rename(aside, l.vault))

	must(t, os.MkdirAll(l.trash, 0o700))
	must(t, syscall.Mount("fuseless-test", l.trash, "tmpfs", 0, "size=4k"))
	must(t, os.WriteFile(filepath.Join(l.trash, "full"), make([]byte, 4096), 0o600))
	same("full", proto.NoSpace, "cannot put the configuration into")
	must(t, syscall.Mount("", l.trash, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	same("read-only", proto.Remote, "cannot put the configuration into")
	unmount(t, l.trash)
	l.ok("backup")
	l.nothingSent()
}
