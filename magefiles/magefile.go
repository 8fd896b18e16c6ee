//go:build mage

// fuseless: encrypted backups with gocryptfs, without FUSE on your machine.
//
// Targets can be chained in one call, as in `mage backup remoteMount serve
// hostMount`; `mage X` and an installed `fuseless X` are the same. Where there are several vaults, FUSELESS_VAULT=NAME chooses one.
package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/magefile/mage/mg"

	"fuseless/guest/proto"
	"fuseless/magefiles/bench"
	"fuseless/magefiles/bridge"
	"fuseless/magefiles/chain"
	"fuseless/magefiles/demo"
	"fuseless/magefiles/e2e"
	"fuseless/magefiles/interrupt"
	"fuseless/magefiles/release"
	"fuseless/magefiles/testrun"
)

// Under these names the task binary is the bridge that carries a mounted remote,
// and what the benchmarks need.
func init() {
	if filepath.Base(os.Args[0]) == bridge.Name {
		bridge.Main()
	}
	bench.Become(os.Args[0])
}

// with runs f on the configured vaults. Ctrl-C, SIGTERM and SIGHUP end it, with
// everything cleaned up.
func with(ctx context.Context, f func(context.Context, *chain.Chain) error) error {
	return run(ctx, func(ctx context.Context) error {
		c, err := chain.Open(mg.Verbose())
		if err != nil {
			return err
		}
		return f(ctx, c)
	})
}

func run(ctx context.Context, f func(context.Context) error) error {
	ctx, stop := interrupt.Context(ctx)
	defer stop()
	err := f(ctx)
	if err != nil && ctx.Err() != nil && proto.CodeOf(err) == proto.Internal {
		err = proto.Errorf(proto.Interrupted, "interrupted").WithHint("run it again: it goes on where it was")
	}
	return proto.Exit(err)
}

func is(b *bool) bool { return b != nil && *b }

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Setup asks a few questions and writes fuseless.yaml.
func Setup(ctx context.Context) error { return run(ctx, chain.Setup) }

// Config prints the effective configuration, and where each value comes from.
func Config(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Config.Effective(os.Stdout) })
}

// Init makes a vault's configuration in its source, or a vault to write into, and shows the master key, once.
func Init(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Init(ctx) })
}

// Passwd changes a vault's passphrase, in the source, the vault and the keyring.
func Passwd(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Passwd(ctx) })
}

// Recover sets a new passphrase with the master key, when the passphrase or the key file is lost.
func Recover(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Recover(ctx) })
}

// Backup sends what changed in the source to the vault; deletions go to a dated trash.
func Backup(ctx context.Context,
	dryRun *bool, // say what would be done, and change nothing
	checksum *bool, // compare contents, not only sizes and times
	allowDelete *bool, // allow more deletions than 1,000 files or 10 %
) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error {
		return c.Backup(ctx, chain.BackupOptions{DryRun: is(dryRun), Checksum: is(checksum), AllowDelete: is(allowDelete)})
	})
}

// Restore gets files back from the vault, and never overwrites one.
func Restore(ctx context.Context,
	to *string, // folder to restore into; default: the source, if it is empty or missing
	only *string, // restore only what matches this pattern, such as '/2024/*.jpg'
	from *string, // restore what the backup of this date deleted or replaced; `trash` lists the dates
) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error {
		return c.Restore(ctx, chain.RestoreOptions{To: text(to), Only: text(only), From: text(from)})
	})
}

// Trash lists what backups deleted or replaced, and when it goes.
func Trash(ctx context.Context,
	list *string, // print the names of the files of this date
) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Trash(ctx, text(list)) })
}

// Verify checks the vault against the source, without changing anything.
func Verify(ctx context.Context,
	data *bool, // read everything in the vault, and authenticate it by decrypting it
	full *bool, // compare contents with the source, by checksums
	share *int, // with -data: read only this many per cent, the longest unread first
) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error {
		return c.Verify(ctx, chain.VerifyOptions{Data: is(data), Full: is(full), Share: share})
	})
}

// Status shows what is mounted and served, and how the last backup went.
func Status(ctx context.Context,
	json *bool, // print one JSON document
) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Status(ctx, is(json)) })
}

// Open does everything up to the decrypted files in the file manager.
func Open(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.OpenFolder(ctx) })
}

// Close takes down what open made.
func Close(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Close(ctx) })
}

// RemoteMount mounts the vault and its decrypted view in the guest: read-only, or with writable read-write.
func RemoteMount(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.RemoteMount(ctx) })
}

// RemoteUnmount takes down what remoteMount made.
func RemoteUnmount(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.RemoteUnmount(ctx) })
}

// Serve starts the WebDAV server on the mounted view.
func Serve(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Serve(ctx) })
}

// Unserve stops the WebDAV server.
func Unserve(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Unserve(ctx) })
}

// HostMount mounts the WebDAV server on this machine.
func HostMount(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.HostMount(ctx) })
}

// HostUnmount takes down what hostMount made.
func HostUnmount(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.HostUnmount(ctx) })
}

// Render prints the lima.yaml of the VM; `limactl start` on it alone gives the guest.
func Render(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Render(ctx, os.Stdout) })
}

// Up makes the VM run as the configuration has it: creates, starts, restarts, or does nothing.
func Up(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Up(ctx) })
}

// Destroy removes the VM with its disk; nothing of a vault is in it.
func Destroy(ctx context.Context,
	yes *bool, // do not ask
) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Destroy(ctx, is(yes)) })
}

// Shell opens a shell in the VM, or runs what comes on standard input there.
func Shell(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Shell(ctx) })
}

// Logs prints the logs of the VM and of its provisioning.
func Logs(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Logs(ctx, os.Stdout) })
}

// Down takes everything of every vault down, whatever state it is in, and stops the VM.
func Down(ctx context.Context) error {
	return with(ctx, func(ctx context.Context, c *chain.Chain) error { return c.Down(ctx) })
}

// Doctor looks at everything that is needed, and says what mends what is not well.
func Doctor(ctx context.Context,
	json *bool, // print one JSON document
) error {
	return run(ctx, func(ctx context.Context) error { return chain.Doctor(ctx, mg.Verbose(), is(json), os.Stdout) })
}

// Install compiles the task binary `fuseless`, which does everything from any folder, without Go.
func Install(ctx context.Context,
	to *string, // folder; default: $GOBIN, else /usr/local/bin for root, else ~/.local/bin
) error {
	return run(ctx, func(ctx context.Context) error { return chain.Install(ctx, text(to)) })
}

// Release compiles fuseless for macOS and Linux into archives, with checksums and a Homebrew formula.
func Release(ctx context.Context,
	to *string, // folder; the release becomes the folder VERSION in it; default: ~/.cache/fuseless/release
	version *string, // such as 1.2.0; default: what the git tags say
	url *string, // where the archives will be, with VERSION for the version; default: the project's releases
) error {
	return run(ctx, func(ctx context.Context) error {
		return release.Run(ctx, release.Options{To: text(to), Version: text(version), URL: text(url), Out: os.Stdout})
	})
}

// Demo runs the whole chain on a throwaway remote and compares what comes out with what went in.
func Demo(ctx context.Context,
	keep *bool, // leave the decrypted backup open to browse until Ctrl-C
) error {
	return run(ctx, func(ctx context.Context) error { return demo.Run(ctx, demo.Options{Keep: is(keep), Out: os.Stdout}) })
}

// Bench measures: `bench backup` against restic and borg, `bench remote` and `bench local` against other servers, `bench vm` through the VM, `bench write` writing, `bench million` many files.
//
// `backup` takes a first backup, one without a change, one with 1 % changed, and a restore, by fuseless, restic, borg, and
// gocryptfs with rsync by hand, on the same files and over the same emulated link (40 ms, 200 Mbit/s): about ten minutes.
// `remote` lists and reads a backup over WebDAV, by fuseless, rclone, and the server that one would write first, over the
// same link: a quarter of an hour. `vm` does so by fuseless with `guest: local`, and through a Lima VM that it makes for
// it, with an ordinary user: a quarter of an hour where there is no KVM. These need root. `local` lists and reads a folder
// of this machine over WebDAV, without a link, by fuseless, rclone, nginx, apache and that server: a few minutes. `write`
// puts files over WebDAV, over the link into a vault and then into a folder of this machine, by the same servers: half an
// hour, as root. `million` measures time, CPU and memory of a run without a change over 10,000, 100,000 and 1,000,000 small
// files, in half an hour to an hour, with 10 GB of disk. All need Linux, install what they lack, print Markdown, and remove
// what they made.
func Bench(ctx context.Context, what string,
	runs *int, // how often to measure, the worst counts; default: 3, and 1 for vm. million measures once
) error {
	n := 0
	if runs != nil {
		n = *runs
	}
	return run(ctx, func(ctx context.Context) error { return bench.Run(ctx, what, n, os.Stdout) })
}

// E2e runs the whole chain through a real virtual machine, made from scratch.
func E2e(ctx context.Context) error {
	return run(ctx, func(ctx context.Context) error { return e2e.Run(ctx, os.Stdout) })
}

// Test installs what the tests need, and runs them all with the race detector.
func Test(ctx context.Context) error {
	return run(ctx, func(ctx context.Context) error {
		o := testrun.Options{Out: os.Stdout}
		if slices.ContainsFunc(os.Args[1:], func(a string) bool { return strings.EqualFold(a, "e2e") }) {
			o.Needs, o.Beside = e2e.Needs(), e2e.Prepare // it comes next, and begins with minutes of these
		}
		return testrun.Run(ctx, o)
	})
}
