//go:build linux

package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// TestPassphraseChangedElsewhere: another machine has changed the passphrase of
// the vault. Whoever checks it, with the old one or the new one, with the source
// or without, is told that, and not that the passphrase is wrong.
func TestPassphraseChangedElsewhere(t *testing.T) {
	t.Parallel()
	l := localLab(t).started()
	old := read(t, l.keyFile())
	next := keyWith(t, old, passphrase, wrongPassphrase)
	put(t, l.vaultConf(), next)
	before := l.onRemote()

	config := read(t, l.configFile())
	withoutSource := bytes.Replace(config, []byte("    source:"), []byte("    # source:"), 1)
	for _, c := range []struct {
		config []byte
		pass   string
		code   proto.Code
		says   string
	}{
		{config, passphrase, proto.Different, "gocryptfs.conf: is damaged, or its passphrase was changed elsewhere: the passphrase opens the source's, and not this one"},
		{config, wrongPassphrase, proto.Passphrase, "the passphrase is wrong there, but opens the vault at"},
		{withoutSource, passphrase, proto.Different, "gocryptfs.conf: is damaged, or its passphrase was changed elsewhere: the passphrase opens the copy in the state folder, and not this one"},
		{withoutSource, wrongPassphrase, proto.OK, "the passphrase opens the vault and not the copy of its configuration: it was changed elsewhere"},
		{withoutSource, "neither of the two", proto.Passphrase, "the passphrase is wrong"},
	} {
		must(t, os.WriteFile(l.configFile(), c.config, 0o600))
		l.setPass(c.pass)
		r := l.run("verify", "-data")
		if r.code != c.code || !strings.Contains(r.stdout+r.stderr, c.says) {
			t.Errorf("with a source %t, passphrase %q: not %d, %q: %s", bytes.Equal(c.config, config), c.pass, c.code, c.says, r)
		}
	}
	l.unchanged("verify", before)

	// The machine with the source knows what its last backup left there, also when
	// its own was changed since. When it has forgotten that, it says so.
	must(t, os.WriteFile(l.configFile(), config, 0o600))
	l.setPass(passphrase)
	l.refused(proto.Vault, []string{"backup"}, "is not the one that the last backup left there")
	third := keyWith(t, old, passphrase, "a third one: 8c2e")
	put(t, l.keyFile(), third)
	l.setPass("a third one: 8c2e")
	l.refused(proto.Vault, []string{"backup"}, "is not the one that the last backup left there")
	put(t, l.keyFile(), old)
	l.setPass(passphrase)
	must(t, os.Remove(filepath.Join(l.stateDir(), "last.json")))
	const undone = "if the passphrase was changed by another machine, that change is undone"
	if r := l.ok("backup", "-dryRun"); strings.Contains(r.stderr, undone) {
		t.Errorf("a dry run undoes nothing: %s", r)
	}
	if r := l.run("backup"); r.code != proto.OK || !strings.Contains(r.stderr, undone) {
		t.Errorf("it does not say %q: %s", undone, r)
	}
	kept, _ := filepath.Glob(filepath.Join(l.trash, "*", gocryptfs.ConfigName))
	if len(kept) != 1 || !bytes.Equal(read(t, kept[0]), next) || !bytes.Equal(read(t, l.vaultConf()), old) {
		t.Errorf("in the trash: %q", kept)
	}
	l.ok("backup")
	l.sameAsSource()
}

// keyWith is a configuration with another passphrase, by stock gocryptfs.
func keyWith(t *testing.T, conf []byte, from, to string) []byte {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, gocryptfs.ReverseConfigName), conf)
	c := exec.Command("gocryptfs", "-q", "-reverse", "-passwd", "--", dir)
	c.Stdin = strings.NewReader(from + "\n" + to + "\n")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("gocryptfs -passwd: %v: %s", err, out)
	}
	return read(t, filepath.Join(dir, gocryptfs.ReverseConfigName))
}
