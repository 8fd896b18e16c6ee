//go:build linux

package main_test

import (
	"os"
	"path/filepath"

	"fuseless/guest/proto"
)

// elsewhere is another folder of the remote as destination; fill puts into it,
// for the time being the lab's vault, what lies there.
func elsewhere(fill func(l *lab)) func(l *lab) func() {
	return func(l *lab) func() {
		was, env := l.vault, l.env
		l.vault = filepath.Join(filepath.Dir(was), "elsewhere")
		must(l.t, os.Mkdir(l.vault, 0o700))
		if fill != nil {
			fill(l)
		}
		there := l.vault
		l.vault = was
		variableOf("DESTINATION", func(l *lab) string { return l.alias + ":backup/elsewhere" })(l)
		return func() {
			must(l.t, os.RemoveAll(there))
			l.env = env
			l.ok("backup") // else the vault counts as one that is not known
		}
	}
}

var vaultFailures = []failure{
	{group: "Vault", what: "other files lie there, and no vault", on: near, args: []string{"backup"}, setup: elsewhere(func(l *lab) {
		must(l.t, os.WriteFile(filepath.Join(l.vault, "thesis"), []byte("the only copy"), 0o600))
	}), grows: true,
		want: "DESTINATION holds other files and no vault",
		hint: "choose a destination that is empty or does not exist; if it is your vault without its gocryptfs.conf, `fuseless recover` makes a new one from the master key",
		code: proto.Vault},
	{group: "Vault", what: "it is another source's, with the same passphrase", on: near, args: []string{"backup"}, setup: elsewhere(func(l *lab) {
		l.foreignVault(passphrase)
	}), grows: true,
		want: "DESTINATION is the vault of another source",
		hint: "give each source a destination of its own; nothing was changed",
		code: proto.Vault},
	{group: "Vault", what: "it is another source's, with another passphrase", on: near, args: []string{"backup"}, setup: elsewhere(func(l *lab) {
		l.foreignVault(wrongPassphrase)
	}), grows: true,
		want: "DESTINATION is the vault of another source",
		hint: "give each source a destination of its own; nothing was changed",
		code: proto.Vault},
	{group: "Vault", what: "it is no longer there", on: near, args: []string{"backup"}, setup: func(l *lab) func() {
		aside := l.vault + "-aside"
		must(l.t, os.Rename(l.vault, aside))
		return func() { must(l.t, os.Rename(aside, l.vault)) }
	}, grows: true,
		want: "the vault is no longer at DESTINATION",
		hint: "is its disk mounted? if the vault was removed on purpose, remove STATE/fuseless/photos-ID/last.json and run it again",
		code: proto.Vault},
	{group: "Vault", what: "since the first backup, it has a disk of its own, and the trash is not on it", on: box, args: []string{"backup"}, setup: otherDisk, grows: true,
		want: `cannot move deleted files to the trash: sftp: "Failure" (SSH_FX_FAILURE)`,
		hint: "check who may write in DESTINATION and in backup/photos.trash, and that both are on one disk; nothing is lost",
		code: proto.Remote},
	{group: "Vault", what: "there is none, and a view is to be opened", on: near, args: []string{"remoteMount"}, setup: elsewhere(nil),
		want: "there is no vault at DESTINATION",
		hint: "check the destination; run `fuseless backup` if there was no backup yet",
		code: proto.Vault},
	{group: "Vault", what: "it is the backup of a folder, and is to be written to", on: near, args: []string{"open"}, setup: writable,
		want: "the vault at DESTINATION is the backup of a folder: what is written into it, the next backup would delete",
		hint: "take `writable` out to read it, or give the files a vault of their own",
		code: proto.Vault},
	{group: "Vault", what: "the same, and `init` is run", on: near, args: []string{"init"}, setup: writable,
		want: "the vault at DESTINATION is the backup of a folder: what is written into it, the next backup would delete",
		hint: "choose another destination",
		code: proto.Vault},
	{group: "Vault", what: "it is written to, and is to be backed up", on: near, args: []string{"backup"}, setup: writable,
		want: "the vault photos is written to directly: there is nothing to back up",
		hint: "`fuseless open` opens it; a vault for a backup has a `source:` in CONFIG",
		code: proto.Config},
	{group: "Vault", what: "its view is open, and `writable` has changed since", on: views, args: []string{"open"},
		setup: func(l *lab) func() {
			l.ok("open")
			mend := writable(l)
			return func() { mend(); l.ok("down") }
		},
		want: "the view is mounted read-only, and `writable` in CONFIG has changed since",
		hint: "run `fuseless close`, and then this again",
		code: proto.Busy},
}

// writable configures the vault as one that is written to.
func writable(l *lab) func() {
	l.configureWith("    writable: true\n")
	return l.configure
}
