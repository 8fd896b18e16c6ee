//go:build linux

package main_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"fuseless/guest/proto"
)

// wrongPassphrase is as secret as the right one: it may be another vault's.
const wrongPassphrase = "quite another: 2b9ae4d1"

// prints lets the vault's passphrase be text, once.
func prints(text string) func(l *lab) func() {
	return func(l *lab) func() {
		must(l.t, os.WriteFile(l.passFile(), []byte(text), 0o600))
		return func() { must(l.t, os.WriteFile(l.passFile(), []byte(passphrase+"\n"), 0o600)) }
	}
}

// passphraseFrom sets `passphrase` of the configuration.
func passphraseFrom(yaml string) func(l *lab) func() {
	return func(l *lab) func() {
		b, err := os.ReadFile(l.configFile())
		must(l.t, err)
		var lines []string
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "    passphrase:") {
				line = "    passphrase: " + yaml + "\n"
			}
			lines = append(lines, line)
		}
		must(l.t, os.WriteFile(l.configFile(), []byte(strings.Join(lines, "")), 0o600))
		return func() { must(l.t, os.WriteFile(l.configFile(), b, 0o600)) }
	}
}

// changedPassphrase changes it on the source, with stock gocryptfs.
func changedPassphrase(l *lab) func() {
	before, err := os.ReadFile(l.keyFile())
	must(l.t, err)
	c := exec.Command("gocryptfs", "-q", "-reverse", "-passwd", "--", l.source)
	c.Stdin = strings.NewReader(passphrase + "\n" + wrongPassphrase + "\n")
	if out, err := c.CombinedOutput(); err != nil {
		l.t.Fatalf("gocryptfs -passwd: %v: %s", err, out)
	}
	return func() {
		must(l.t, os.Remove(l.keyFile()))
		must(l.t, os.WriteFile(l.keyFile(), before, 0o400))
	}
}

// silentKeyring is a message bus that never answers, as the keyring behind it
// does while a dialogue that nobody sees waits to be answered.
func silentKeyring(l *lab) func() {
	mend := passphraseFrom("keyring")(l)
	socket := filepath.Join(l.dir, "bus")
	s, err := net.Listen("unix", socket)
	must(l.t, err)
	l.env = append(l.env, "DBUS_SESSION_BUS_ADDRESS=unix:path="+socket)
	return func() { s.Close(); mend() }
}

var passphraseFailures = []failure{
	{group: "Passphrase", what: "it is wrong", on: near, args: []string{"backup"}, setup: prints(wrongPassphrase + "\n"),
		want: "cannot mount the encrypted image of the source: the passphrase is wrong",
		hint: "try again; if it was changed, use the new one",
		code: proto.Passphrase},
	{group: "Passphrase", what: "it is wrong, and a view is to be opened", on: near, args: []string{"remoteMount"}, setup: prints(wrongPassphrase + "\n"),
		want: "cannot mount the view: the passphrase is wrong",
		hint: "try again; if it was changed, use the new one",
		code: proto.Passphrase},
	{group: "Passphrase", what: "it is empty", on: near, args: []string{"backup"}, setup: prints("\n"),
		want: "passphrase of vault photos: the passphrase is empty",
		hint: "the command cat must print the passphrase, and nothing else, on one line",
		code: proto.Passphrase},
	{group: "Passphrase", what: "it has a newline", on: near, args: []string{"backup"}, setup: prints("two\n" + passphrase + "\n"),
		want: "the passphrase command cat printed more than one line",
		hint: "let it print the passphrase alone; what it prints as a message belongs on standard error",
		code: proto.Passphrase},
	{group: "Passphrase", what: "it was changed meanwhile", on: near, args: []string{"backup"}, setup: changedPassphrase,
		want: "cannot unlock the configuration in the source: the passphrase is wrong there, but opens the vault at DESTINATION",
		hint: "it was changed on one side, or the source's .gocryptfs.reverse.conf is damaged: run `fuseless passwd`, which gives both one passphrase",
		code: proto.Passphrase},
	{group: "Passphrase", what: "the keyring cannot be reached", on: near, args: []string{"backup"}, setup: func(l *lab) func() {
		l.env = append(l.env, "DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent/bus")
		return passphraseFrom("keyring")(l)
	},
		want: "passphrase of vault photos from the keyring: dial unix /nonexistent/bus: connect: no such file or directory",
		hint: "unlock the keyring, or set `passphrase: prompt` for the vault",
		code: proto.Passphrase},
	{group: "Passphrase", what: "the keyring is locked, and nobody answers its dialogue", on: alone1, args: []string{"backup"}, setup: silentKeyring,
		want: "passphrase of vault photos from the keyring: no answer within 1m0s; it may be locked",
		hint: "unlock the keyring, or set `passphrase: prompt` for the vault",
		code: proto.Passphrase},
	{group: "Passphrase", what: "the command fails", on: near, args: []string{"backup"}, setup: passphraseFrom("{command: [sh, -c, 'echo no such entry >&2; exit 3']}"), says: []string{"no such entry\n"},
		want: "the passphrase command sh failed: exit status 3",
		hint: "run it by hand: it must print the passphrase, and nothing else, on one line",
		code: proto.Passphrase},
	{group: "Passphrase", what: "the command is missing", on: near, args: []string{"backup"}, setup: passphraseFrom("{command: [nonesuch]}"),
		want: `the passphrase command nonesuch failed: exec: "nonesuch": executable file not found in $PATH`,
		hint: "run it by hand: it must print the passphrase, and nothing else, on one line",
		code: proto.Passphrase},
	{group: "Passphrase", what: "the command hangs", on: alone2, args: []string{"backup"}, setup: passphraseFrom("{command: [sleep, '600']}"),
		want: "the passphrase command sleep did not end within 1m0s",
		hint: "run it by hand: it may wait for an answer that nobody can give here; it was stopped",
		code: proto.Passphrase},
	{group: "Passphrase", what: "there is no terminal to ask at", on: near, args: []string{"backup"}, setup: passphraseFrom("prompt"),
		want: "a question needs a terminal, and there is none",
		hint: "for a passphrase without a terminal set `passphrase: keyring` or `passphrase: {command: [...]}` for the vault",
		code: proto.Terminal},
}
