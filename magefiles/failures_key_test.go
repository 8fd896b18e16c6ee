//go:build linux

package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/magefiles/compare"
	"fuseless/magefiles/screen"
)

// notes are the lines of a target that ended well, without those that only say
// which step it is at.
func (r result) notes() string {
	var lines []string
	for line := range strings.Lines(r.stderr) {
		line = strings.TrimSuffix(line, "\n")
		text, _ := strings.CutPrefix(line, vaultName+": ")
		if !slices.ContainsFunc(proto.Steps, func(s proto.Step) bool { return screen.StepText(s) == text }) {
			lines = append(lines, text)
		}
	}
	return strings.Join(lines, "\n")
}

// butForKey is a source as it is, in which the configuration may have been put
// back or made: its time, and that of the folder it lies in, are others then.
func butForKey(was, is compare.Tree) compare.Tree {
	for _, p := range []string{".", gocryptfs.ReverseConfigName} {
		switch a, b := was.Entries[p], is.Entries[p]; {
		case a == nil:
			delete(is.Entries, p)
		case b != nil:
			b.MTime = a.MTime
		}
	}
	return is
}

// configurations spoils the configurations that are named: what each has then,
// nil for none.
func configurations(inSource, inCopy, inVault func(whole []byte) []byte) func(l *lab) func() {
	return func(l *lab) func() {
		last := filepath.Join(l.stateDir(), "last.json")
		whole, done := read(l.t, l.keyFile()), read(l.t, last)
		restored := l.path("restored") // some restore
		for name, spoil := range map[string]func([]byte) []byte{l.keyFile(): inSource, l.copyFile(): inCopy, l.vaultConf(): inVault} {
			if spoil != nil {
				put(l.t, name, spoil(whole))
			}
		}
		return func() {
			for _, name := range []string{l.keyFile(), l.copyFile(), l.vaultConf()} {
				put(l.t, name, whole)
			}
			must(l.t, os.Chmod(l.copyFile(), 0o600))
			must(l.t, os.WriteFile(last, done, 0o600)) // else what was put back is one to be proven
			must(l.t, os.RemoveAll(restored))
		}
	}
}

func lost([]byte) []byte      { return nil }
func cut(whole []byte) []byte { return whole[:len(whole)/2] }

// keyFailures are a vault's configuration that is lost or damaged, and an init
// that was interrupted. Most mend themselves.
var keyFailures = []failure{
	{group: "Vault", what: "the source's configuration is missing", on: keys, args: []string{"backup"}, setup: configurations(lost, nil, nil),
		want: "restored the vault's configuration in the source from the copy in STATE/fuseless/photos-ID"},
	{group: "Vault", what: "the source's configuration is damaged", on: keys, args: []string{"backup"}, setup: configurations(cut, nil, nil),
		want: "restored the vault's configuration in the source, which was damaged, from the copy in STATE/fuseless/photos-ID; the damaged one is kept as STATE/fuseless/photos-ID/gocryptfs.reverse.conf.replaced-TIME"},
	{group: "Vault", what: "the source's configuration is missing, and so is the copy of it", on: keys, args: []string{"backup"}, setup: configurations(lost, lost, nil),
		want: "restored the vault's configuration in the source from DESTINATION"},
	{group: "Vault", what: "the source's configuration is damaged, and so is the copy of it", on: keys, args: []string{"backup"}, setup: configurations(cut, cut, nil),
		want: "restored the vault's configuration in the source, which was damaged, from DESTINATION; the damaged one is kept as STATE/fuseless/photos-ID/gocryptfs.reverse.conf.replaced-TIME"},
	{group: "Vault", what: "the vault's configuration is missing", on: keys, args: []string{"backup"}, setup: configurations(nil, nil, lost),
		want: "the configuration in DESTINATION is missing: put back from the source's"},
	{group: "Vault", what: "the vault's configuration is damaged", on: keys, args: []string{"backup"}, setup: configurations(nil, nil, cut),
		want: "the configuration in DESTINATION is damaged: put back from the source's"},
	{group: "Vault", what: "the vault's configuration is missing, and files are to be restored", on: keys, args: []string{"restore", "-to=restored"}, setup: configurations(nil, nil, lost),
		want: "the configuration in DESTINATION was missing or damaged: put back from the copy; a damaged one is in the trash"},
	{group: "Vault", what: "the vault's configuration is damaged, and files are to be restored", on: keys, args: []string{"restore", "-to=restored"}, setup: configurations(nil, nil, cut),
		want: "the configuration in DESTINATION was missing or damaged: put back from the copy; a damaged one is in the trash"},
	{group: "Vault", what: "the configuration is damaged everywhere", on: keys, args: []string{"backup"}, setup: configurations(cut, cut, cut),
		want: "DESTINATION: the vault's configuration is damaged: unexpected end of JSON input",
		hint: "a backup puts it back if the source's, or the copy in the state folder, is whole; else `fuseless recover` makes a new one with the master key",
		code: proto.Vault},
	{group: "Vault", what: "an init was interrupted while it wrote", on: fresh, args: []string{"init"}, setup: func(l *lab) func() {
		put(l.t, l.keyFile()+".fuseless-new", []byte("{"))
		return func() {
			put(l.t, l.keyFile(), nil)
			must(l.t, os.RemoveAll(l.stateDir()))
		}
	},
		want: "the master key is not shown, as there is no terminal; with the passphrase, `gocryptfs-xray -dumpmasterkey SOURCE/.gocryptfs.reverse.conf` shows it\ninitialised: SOURCE/.gocryptfs.reverse.conf"},
	{group: "Vault", what: "an init was interrupted before it showed the master key", on: fresh, args: []string{"init"}, setup: func(l *lab) func() {
		l.ok("init")
		put(l.t, l.copyFile(), nil)
		put(l.t, filepath.Join(l.stateDir(), "master-key-not-shown"), []byte{})
		return nil
	},
		want: "is initialised already\nan earlier init was interrupted before it showed the master key; run `fuseless init` on a terminal to see it, or `gocryptfs-xray -dumpmasterkey SOURCE/.gocryptfs.reverse.conf`"},
}
