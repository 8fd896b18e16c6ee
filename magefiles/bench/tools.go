package bench

import (
	"fmt"
)

// tool is a backup program, in a place with a remote, with its defaults.
type tool struct {
	name string
	env  []string // with the way to the passphrase, where it takes no option

	setup   []step             // makes an empty vault or repository
	backup  func(n int) []step // the run n, from 0
	restore func(n int) []step // what the run n, the last, sent; into the empty folder "restored"
	at      string             // where below that the files are then
	folders []string           // that the steps want to be there
}

// toolNames are all. The ratios are those of the first.
var toolNames = []string{"fuseless", "restic", "borg", "by hand"}

// newTool is a tool in p, with f as the remote. fuseless is the task binary.
func newTool(name string, p *place, f *far, fuseless string) (tool, error) {
	ssh := "ssh -F " + f.config
	source, restored, remote := p.path("source"), p.path("restored"), p.path("remote/vault")
	cat := "cat " + p.secret()
	switch name {
	case "fuseless":
		target := func(args ...string) []step { return []step{{Argv: append([]string{fuseless}, args...)}} }
		return tool{
			name:    name,
			setup:   target("init"),
			backup:  func(int) []step { return target("backup") },
			restore: func(int) []step { return target("restore", "-to="+restored) },
		}, p.configure(f.config, farAlias+":"+remote)
	case "restic":
		restic := func(args ...string) []step {
			return []step{{Argv: append([]string{"restic", "--quiet", "-r", "sftp:" + farAlias + ":" + remote,
				"-o", "sftp.command=" + ssh + " " + farAlias + " -s sftp", "--password-command", cat}, args...)}}
		}
		return tool{
			name:    name,
			setup:   restic("init"),
			backup:  func(int) []step { return restic("backup", source) },
			restore: func(int) []step { return restic("restore", "latest", "--target", restored) },
			at:      source,
		}, nil
	case "borg":
		borg := func(args ...string) []step {
			return []step{{Argv: append([]string{"borg", "--rsh", ssh}, args...), Dir: restored}}
		}
		repository := "ssh://" + farAlias + remote
		return tool{
			name:    name,
			env:     []string{"BORG_PASSCOMMAND=" + cat},
			setup:   borg("init", "--encryption=repokey", repository),
			backup:  func(n int) []step { return borg("create", fmt.Sprintf("%s::run%d", repository, n), source) },
			restore: func(n int) []step { return borg("extract", fmt.Sprintf("%s::run%d", repository, n)) },
			at:      source,
		}, nil
	}
	mnt, vault := p.path("mnt"), p.path("vault")
	rsync := func(from, to string) step {
		return step{Argv: []string{"rsync", "-a", "--delete", "-e", ssh, from + "/", to + "/"}}
	}
	mount := func(args ...string) step {
		return step{Argv: append([]string{"gocryptfs", "-quiet", "-passfile", p.secret()}, args...)}
	}
	unmount := step{Argv: []string{"fusermount3", "-u", mnt}, Always: true}
	return tool{
		name:  name,
		setup: []step{mount("-init", "-reverse", source)},
		backup: func(int) []step {
			return []step{mount("-reverse", source, mnt), rsync(mnt, farAlias+":"+remote), unmount}
		},
		restore: func(int) []step {
			return []step{rsync(farAlias+":"+remote, vault), mount("-ro", vault, mnt), rsync(mnt, restored), unmount}
		},
		folders: []string{"mnt", "vault"},
	}, nil
}
