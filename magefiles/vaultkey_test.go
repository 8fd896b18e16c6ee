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

// spoiled are the ways in which a configuration can be damaged; nil: it is gone.
func spoiled(conf []byte) map[string][]byte {
	return map[string][]byte{
		"missing": nil, "empty": {}, "truncated": conf[:len(conf)/2], "garbage": bytes.Repeat([]byte{0xa5}, len(conf)),
	}
}

// put replaces a file; nil removes it.
func put(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if b != nil {
		must(t, os.WriteFile(name, b, 0o400))
	}
}

// TestConfigurationDamaged: on either side it is restored from the other one, or
// from the copy, and a damaged file is kept.
func TestConfigurationDamaged(t *testing.T) {
	t.Parallel()
	l := localLab(t).started()
	key, whole := l.masterKey(), read(t, l.keyFile())
	kept := func(what string, b []byte, pattern string) {
		t.Helper()
		if len(b) == 0 {
			return
		}
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			if bytes.Equal(read(t, f), b) {
				return
			}
		}
		t.Errorf("%s: the damaged file is not kept among %q", what, files)
	}
	inState, inTrash := filepath.Join(l.stateDir(), "*"), filepath.Join(l.trash, "*", gocryptfs.ConfigName)
	for what, b := range spoiled(whole) {
		put(t, l.keyFile(), b)
		if b != nil {
			l.refused(proto.Vault, []string{"backup", "-dryRun"}, "is damaged")
		}
		if r := l.ok("backup"); !strings.Contains(r.stderr, "restored the vault's configuration in the source") {
			t.Errorf("the source's is %s: %s", what, r)
		}
		kept("the source's is "+what, b, inState)
		l.follows(passphrase, key)

		put(t, l.vaultConf(), b)
		if r := l.ok("backup"); !strings.Contains(r.stderr, "put back from the source's") {
			t.Errorf("the vault's is %s: %s", what, r)
		}
		kept("the vault's is "+what, b, inTrash)
		l.follows(passphrase, key)
	}
	bad := spoiled(whole)["truncated"]
	// Both, with the copy whole.
	put(t, l.keyFile(), bad)
	put(t, l.vaultConf(), bad)
	l.ok("backup")
	l.follows(passphrase, key)
	// No copy: from the vault.
	put(t, l.keyFile(), bad)
	put(t, l.copyFile(), nil)
	l.ok("init")
	l.ok("backup")
	l.follows(passphrase, key)
	// For who only looks, too.
	put(t, l.vaultConf(), bad)
	if r := l.ok("remoteMount"); !strings.Contains(r.stderr, "put back from the copy") {
		t.Errorf("remoteMount: %s", r)
	}
	l.ok("remoteUnmount")
	put(t, l.vaultConf(), nil)
	l.ok("restore", "-to="+l.path("to"))
	// All of it: nothing is made anew.
	for _, name := range []string{l.keyFile(), l.vaultConf(), l.copyFile()} {
		put(t, name, bad)
	}
	before := l.onRemote()
	l.refused(proto.Vault, []string{"backup"}, "is damaged")
	l.refused(proto.Vault, []string{"init"}, "is damaged")
	l.unchanged("all damaged", before)
	if !bytes.Equal(read(t, l.keyFile()), bad) {
		t.Error("the damaged file in the source was changed")
	}
	if shown, code := l.talk(byKey(key, changed), "recover"); code != proto.OK {
		t.Fatalf("recover: %d %s", code, shown)
	}
	l.setPass(changed)
	l.ok("backup")
	if keyIn(t, l.keyFile(), changed) != key || keyIn(t, l.vaultConf(), changed) != key {
		t.Error("recover does not mend both")
	}
	l.sameAsSource()
}

// TestInitInterrupted: a killed init leaves no half-made file, and the master key
// of the one that it made is shown by the next.
func TestInitInterrupted(t *testing.T) {
	t.Parallel()
	l := localLab(t)
	l.fill()
	// Killed while it wrote the key file.
	put(t, l.keyFile()+".fuseless-new", []byte("{"))
	l.ok("init")
	gone(t, l.keyFile()+".fuseless-new")
	key := l.masterKey()
	// Killed before it wrote the copy and showed the key.
	put(t, l.copyFile(), nil)
	put(t, filepath.Join(l.stateDir(), "master-key-not-shown"), []byte{})
	if r := l.ok("init"); !strings.Contains(r.stderr, "before it showed the master key") || !strings.Contains(r.stderr, "gocryptfs-xray") {
		t.Errorf("without a terminal: %s", r)
	}
	shown, code := l.talk(nil, "init")
	if code != proto.OK || !strings.Contains(strings.ReplaceAll(shown, "-", ""), key) {
		t.Errorf("on a terminal: %d %s", code, shown)
	}
	if shown, _ := l.talk(nil, "init"); strings.Contains(strings.ReplaceAll(shown, "-", ""), key) {
		t.Error("the master key is shown twice")
	}
	l.ok("backup")
	l.sameAsSource()
}

// TestSwappedSource: another disk at the place of the source does not become the
// vault's source, neither by the key that is put back into it nor by a change of
// the passphrase.
func TestSwappedSource(t *testing.T) {
	t.Parallel()
	l := localLab(t).started()
	aside, vault := l.source+".aside", snapshot(t, l.vault)
	must(t, os.Rename(l.source, aside))
	must(t, os.MkdirAll(filepath.Join(l.source, "another"), 0o700))
	for _, n := range []string{"another/a", "another/b", "c"} {
		must(t, os.WriteFile(filepath.Join(l.source, n), []byte("of another disk"), 0o600))
	}
	for range 2 { // and not the second time either, when the key is there
		l.refused(proto.Vault, []string{"backup"}, "is the vault of another source")
	}
	same(t, "the vault", vault, snapshot(t, l.vault))

	must(t, os.Rename(l.vault, l.vault+".aside"))
	l.foreignVault("quite another")
	theirs := read(t, l.vaultConf())
	must(t, os.RemoveAll(l.vault))
	must(t, os.Rename(l.vault+".aside", l.vault))
	put(t, l.keyFile(), theirs)
	if shown, code := l.talk(twice(changed), "passwd"); code != proto.Vault || !strings.Contains(shown, "nothing proves that") {
		t.Errorf("passwd: %d %s", code, shown)
	}
	if !bytes.Equal(read(t, l.keyFile()), theirs) {
		t.Error("the other disk's key was replaced")
	}
	must(t, os.RemoveAll(l.source))
	must(t, os.Rename(aside, l.source))
	l.ok("backup")
	l.nothingSent()
	l.sameAsSource()
}
