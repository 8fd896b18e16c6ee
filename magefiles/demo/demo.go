// Package demo runs the product's main job once, on an embedded default: a
// throwaway remote, a source with every nasty thing, the real targets, and a
// comparison of what comes out with what went in.
package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/adrg/xdg"
	"github.com/dustin/go-humanize"

	"fuseless/guest/proto"
	"fuseless/magefiles/chain"
	"fuseless/magefiles/compare"
	"fuseless/magefiles/config"
	"fuseless/magefiles/nasty"
	"fuseless/magefiles/passphrase"
	"fuseless/magefiles/prereq"
	"fuseless/magefiles/throwaway"
)

// Options of the demo.
type Options struct {
	Keep bool      // leave everything open to browse until ctx ends
	Out  io.Writer // the report
}

// demo is one run.
type demo struct {
	Options
	dir    string
	server *throwaway.Server
	chain  *chain.Chain
	source compare.Tree
	steps  []step
}

type step struct {
	name string
	took time.Duration
}

// Run runs the demo. Whatever it makes lies in one folder of the cache, and is
// gone when it returns.
func Run(ctx context.Context, o Options) (err error) {
	started := time.Now()
	d := &demo{Options: o}
	if err := d.step("prerequisites", func() error { return prereq.Ensure(ctx, prereq.LocalGuest(), o.Out) }); err != nil {
		return err
	}
	base := filepath.Join(xdg.CacheHome, "fuseless")
	if err := os.MkdirAll(base, 0o700); err != nil {
		return proto.Errorf(proto.NoSpace, "cannot make the cache folder: %w", err)
	}
	if d.dir, err = os.MkdirTemp(base, "demo-"); err != nil {
		return proto.Errorf(proto.NoSpace, "cannot make a folder for the demo: %w", err)
	}
	defer func() {
		if cerr := d.cleanUp(ctx); err == nil {
			err = cerr
		}
	}()
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"make a source with every nasty thing, and 64 MiB", d.makeSource},
		{"start a throwaway remote (ssh on loopback)", d.startRemote},
		{"init", d.init},
		{"backup", func(ctx context.Context) error { return d.chain.Backup(ctx, chain.BackupOptions{}) }},
		{"backup again: nothing to send", d.backupAgain},
		{"remoteMount", func(ctx context.Context) error { return d.chain.RemoteMount(ctx) }},
		{"serve", func(ctx context.Context) error { return d.chain.Serve(ctx) }},
		{"compare over WebDAV", d.compareWebDAV},
		{"hostMount", func(ctx context.Context) error { return d.chain.HostMount(ctx) }},
		{"compare on the mountpoint", d.compareMount},
		{"restore", func(ctx context.Context) error {
			return d.chain.Restore(ctx, chain.RestoreOptions{To: d.path("restored")})
		}},
		{"compare the restored files", d.compareRestored},
		{"status", func(ctx context.Context) error { return d.chain.Status(ctx, false) }},
	} {
		if err := ctx.Err(); err != nil {
			return proto.Errorf(proto.Interrupted, "interrupted")
		}
		if err := d.step(s.name, func() error { return s.do(ctx) }); err != nil {
			return fmt.Errorf("demo: %s: %w", s.name, err)
		}
	}
	if o.Keep {
		d.browse(ctx)
	}
	// Also when the person has ended -keep with Ctrl-C.
	if err := d.step("down", func() error { return d.chain.Down(context.WithoutCancel(ctx)) }); err != nil {
		return fmt.Errorf("demo: down: %w", err)
	}
	d.report(time.Since(started))
	return nil
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// step does f, and says what and how long.
func (d *demo) step(name string, f func() error) error {
	fmt.Fprintf(os.Stderr, "\n--- %s\n", name)
	start := time.Now()
	err := f()
	d.steps = append(d.steps, step{name, time.Since(start)})
	return err
}

func (d *demo) makeSource(ctx context.Context) error {
	made, err := nasty.Make(d.path("source"), nasty.Defaults())
	if err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "source: %d entries, %s, in %s\n", made.Entries, humanize.IBytes(uint64(made.Bytes)), made.Dir)
	for _, l := range made.Left {
		fmt.Fprintf(d.Out, "source: left out: %s\n", l)
	}
	return nil
}

func (d *demo) startRemote(ctx context.Context) (err error) {
	for _, n := range []string{"remote", "keys"} {
		if err := os.Mkdir(d.path(n), 0o700); err != nil {
			return err
		}
	}
	// Not ctx: after Ctrl-C the mounts on it are still to be taken down.
	if d.server, err = throwaway.Start(context.WithoutCancel(ctx), d.path("remote"), d.path("keys")); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	file := d.path("fuseless.yaml")
	text := fmt.Sprintf(`ssh_config: %q
vaults:
  demo:
    source: %q
    destination: %s:backup/demo
    mountpoint: %q
    port: %d
    exclude: ["*.conf.tmp"]
`, d.server.SSHConfig, d.path("source"), throwaway.Alias, d.path("mountpoint"), port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	c, err := config.Parse(file, []byte(text), []string{"HOME=" + xdg.Home})
	if err != nil {
		return err
	}
	d.chain = chain.New(c, false)
	// A passphrase that nobody needs to know lives in this process alone.
	secret := make([]byte, 16)
	rand.Read(secret)
	d.chain.Give("demo", passphrase.NewSecret([]byte(hex.EncodeToString(secret))))
	fmt.Fprintf(d.Out, "remote: ssh on %s, only sftp and `rsync --server`\n", d.server.Addr)
	return nil
}

// freePort is a port that nobody listens on now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// init makes the configuration and then takes the picture that everything is
// compared with: reading a file may change its folder's access time, but
// nothing that is compared.
func (d *demo) init(ctx context.Context) (err error) {
	if err := d.chain.Init(ctx); err != nil {
		return err
	}
	d.source, err = compare.Local(ctx, d.path("source"))
	return err
}

// backupAgain must find nothing to do.
func (d *demo) backupAgain(ctx context.Context) error {
	if err := d.chain.Backup(ctx, chain.BackupOptions{}); err != nil {
		return err
	}
	r := d.chain.LastResult("demo")
	if r == nil || r.Transferred != 0 || r.Deleted != 0 || r.Created != 0 {
		return proto.Errorf(proto.Different, "a second backup of an unchanged source had something to do: %+v", r)
	}
	return nil
}

func (d *demo) compareWebDAV(ctx context.Context) error {
	s, err := d.chain.Session(ctx)
	if err != nil {
		return err
	}
	got, err := compare.WebDAV(ctx, "http://"+s.Address+"/", s.User, string(s.Password))
	if err != nil {
		return err
	}
	return d.judge(got, "webdav", "sshfs")
}

func (d *demo) compareMount(ctx context.Context) error {
	got, err := compare.Local(ctx, d.path("mountpoint"))
	if err != nil {
		return err
	}
	return d.judge(got, "davfs2", "sshfs")
}

func (d *demo) compareRestored(ctx context.Context) error {
	got, err := compare.Local(ctx, d.path("restored"))
	if err != nil {
		return err
	}
	return d.judge(got, "forward")
}

// judge compares with the source, by the tables of permitted losses.
func (d *demo) judge(got compare.Tree, tables ...string) error {
	losses, err := compare.LoadLosses(tables...)
	if err != nil {
		return err
	}
	v := losses.For(d.source).Judge(compare.Compare(d.source, got))
	if !v.OK() {
		return proto.Errorf(proto.Different, "what came out is not what went in (%s):\n%s", strings.Join(tables, "+"), v)
	}
	fmt.Fprintf(d.Out, "%d entries compared by the table %q: %s", len(d.source.Entries), strings.Join(tables, "+"), firstLine(v.String()))
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line + "\n"
}

func (d *demo) browse(ctx context.Context) {
	fmt.Fprintf(d.Out, "\nThe decrypted backup is open in %s\nPress Ctrl-C to take it down.\n", d.path("mountpoint"))
	<-ctx.Done()
}

func (d *demo) report(total time.Duration) {
	fmt.Fprintf(d.Out, "\n%-52s %8s\n", "step", "seconds")
	for _, s := range d.steps {
		fmt.Fprintf(d.Out, "%-52s %8.1f\n", s.name, s.took.Seconds())
	}
	fmt.Fprintf(d.Out, "%-52s %8.1f\n", "all", total.Seconds())
	c := d.server.Counters()
	fmt.Fprintf(d.Out, "\nThe remote saw %d connections, %s in, %s out, and was asked for nothing but sftp and rsync.\n",
		c.Connections, humanize.IBytes(uint64(c.In)), humanize.IBytes(uint64(c.Out)))
	fmt.Fprintln(d.Out, "What came out is what went in, but for the permitted losses.")
}

// cleanUp takes everything down and removes it, also after a failure.
func (d *demo) cleanUp(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var first error
	if d.chain != nil {
		first = d.chain.Down(ctx)
		if err := d.chain.Forget(); first == nil {
			first = err
		}
	}
	if d.server != nil {
		if err := d.server.Close(); first == nil {
			first = err
		}
	}
	if first != nil {
		return first // something may still be mounted below: remove nothing
	}
	if err := nasty.Remove(d.dir); err != nil {
		return fmt.Errorf("remove the demo's folder: %w", err)
	}
	return nil
}
