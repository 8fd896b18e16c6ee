//go:build linux

package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// byKey answers the questions of recover.
func byKey(key, pass string) []line {
	return append([]line{{question: "master key of vault photos: ", answer: key}}, twice(pass)...)
}

// grouped is a key as it stands on paper.
func grouped(key string) string {
	s := strings.ToUpper(key[:8])
	for i := 8; i < len(key); i += 8 {
		s += "- "[i/8%2:][:1] + key[i:i+8]
	}
	return s
}

// TestRecover: the master key gives a new passphrase, also where every
// configuration is gone; a wrong one changes nothing.
func TestRecover(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	key := l.masterKey()
	before, source := l.onRemote(), read(t, l.keyFile())
	r := l.ends(proto.Terminal, "recover")
	if !strings.Contains(r.stderr, "on a terminal") {
		t.Errorf("without a terminal: %s", r)
	}
	for typed, says := range map[string]string{key[:63]: "it has 63 digits and not 64", "x" + key[1:]: "other characters than"} {
		shown, code := l.talk(byKey(typed, changed)[:1], "recover")
		if code != proto.Passphrase || !strings.Contains(shown, says) || strings.Contains(shown, typed) {
			t.Errorf("%q: %d %s", says, code, shown)
		}
	}
	wrong := "0" + key[1:]
	if wrong == key {
		wrong = "1" + key[1:]
	}
	shown, code := l.talk(byKey(wrong, changed), "recover")
	if code != proto.Passphrase || !strings.Contains(shown, "the master key is not that of the vault") || !strings.Contains(shown, "hint: ") {
		t.Errorf("a wrong key: %d %s", code, shown)
	}
	l.unchanged("a wrong key", before)
	if !bytes.Equal(read(t, l.keyFile()), source) {
		t.Error("a wrong key changed the source's configuration")
	}

	shown, code = l.talk(byKey(grouped(key), changed), "recover")
	if code != proto.OK || !strings.Contains(shown, "the master key is the vault's") || strings.Contains(shown, key) {
		t.Fatalf("recover: %d %s", code, shown)
	}
	l.follows(changed, key)
	l.setPass(changed)
	l.ok("backup")
	l.nothingSent()

	// All gone: nothing but the key is left.
	for _, name := range []string{l.keyFile(), l.vaultConf()} {
		must(t, os.Remove(name))
	}
	must(t, os.RemoveAll(filepath.Join(l.home, ".local")))
	l.refused(proto.Vault, []string{"backup"}, "holds other files and no vault", "fuseless recover")
	if shown, code = l.talk(byKey(wrong, passphrase), "recover"); code != proto.Passphrase {
		t.Errorf("all gone, a wrong key: %d %s", code, shown)
	}
	gone(t, l.vaultConf())
	gone(t, l.keyFile())
	if shown, code = l.talk(byKey(key, passphrase), "recover"); code != proto.OK {
		t.Fatalf("all gone: %d %s", code, shown)
	}
	if keyIn(t, l.vaultConf(), passphrase) != key {
		t.Error("the vault's new configuration has another key")
	}
	l.setPass(passphrase)
	l.ok("backup")
	if r := l.last(); r.Created != 0 || r.Deleted != 0 || r.UserFiles != 0 {
		t.Errorf("after recover there is something to send: %+v", r)
	}
	l.follows(passphrase, key)
	l.sameAsSource()
}

// TestRecoverUnproven: where nothing can prove the key, nothing is replaced.
func TestRecoverUnproven(t *testing.T) {
	t.Parallel()
	l := localLab(t)
	l.fill()
	l.ok("init")
	key := l.masterKey()
	source := read(t, l.keyFile())
	shown, code := l.talk(byKey(key, changed), "recover")
	if code != proto.Vault || !strings.Contains(shown, "has no files") || !strings.Contains(shown, "hint: ") {
		t.Errorf("no vault yet: %d %s", code, shown)
	}
	// A vault whose files prove nothing.
	must(t, os.RemoveAll(filepath.Join(l.source, "folder 0")))
	for _, d := range []string{"folder 1", "folder 2"} {
		must(t, os.RemoveAll(filepath.Join(l.source, d)))
	}
	l.write("empty", "")
	l.ok("backup")
	before := read(t, filepath.Join(l.vault, gocryptfs.ConfigName))
	shown, code = l.talk(byKey(key, changed), "recover")
	if code != proto.Vault || !strings.Contains(shown, "has no file that can prove") {
		t.Errorf("empty files: %d %s", code, shown)
	}
	if !bytes.Equal(read(t, l.keyFile()), source) || !bytes.Equal(read(t, l.vaultConf()), before) {
		t.Error("something was replaced")
	}
}
