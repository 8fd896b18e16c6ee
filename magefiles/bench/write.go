package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"fuseless/guest/proto"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/netlab"
	"fuseless/magefiles/prereq"
)

// WriteOptions are what Write can be told.
type WriteOptions struct {
	Out   io.Writer
	Size  int         // files of 4 KiB that are put; 0: 10,000, and the other scenes in proportion
	Runs  int         // 0: 3; the worst counts
	Link  netlab.Link // the zero Link: 40 ms, 200 Mbit/s
	Guest string      // the guest binary; "": what a target would use, and what the others need is installed
	Temp  string      // folder to work in; "": the one for temporary files
}

// Write measures how files are put by WebDAV: into a vault on a remote, over the same
// emulated link as with Remote, by fuseless's server and the obvious one, each on gocryptfs on
// sshfs, by rclone's on its crypt, and by sftp itself; and, as Local measures reading, into a
// folder of this machine. It prints two tables in Markdown. What is then on the remote, when
// the server has answered, or in the folder, and is not what was put, is an error. It needs Linux,
// root, and 2.5 GB of disk below the folder for temporary files. What it makes it removes again.
func Write(ctx context.Context, o WriteOptions) error {
	o.Size, o.Runs = cmp.Or(o.Size, 10_000), cmp.Or(o.Runs, 3)
	if o.Link == (netlab.Link{}) {
		o.Link = netlab.Link{RTT: 40 * time.Millisecond, Rate: 200_000_000}
	}
	if err := netlab.Supported(); err != nil {
		return proto.Errorf(proto.Prerequisite, "%w", err).WithHint("run it as root")
	}
	if o.Guest == "" {
		err := prereq.Ensure(ctx, append(prereq.LocalGuest(), prereq.Bench()...), os.Stderr)
		if err == nil {
			o.Guest, err = guestbin.Path(ctx)
		}
		if err != nil {
			return err
		}
	}
	if err := o.far(ctx); err != nil {
		return err
	}
	fmt.Fprintln(o.Out)
	return Local(ctx, LocalOptions{Out: o.Out, Size: o.Size, Runs: o.Runs, Guest: o.Guest, Temp: o.Temp, writing: true})
}

// sftpPut is no server: sftp, told to sync.
const sftpPut = "sftp put"

var writers = []string{ours, obvious, rclone, sftpPut}

// far measures over a link.
func (o *WriteOptions) far(ctx context.Context) (err error) {
	p, err := newPlace(o.Temp)
	if err != nil {
		return err
	}
	defer func() {
		if rerr := p.remove(); err == nil {
			err = rerr
		}
	}()
	l := &library{dir: p.path("source"), film: noise(0, 32<<20*o.Size/10_000)}
	if err := l.write(filmName, l.film); err != nil {
		return err
	}
	f, err := p.connect(ctx, o.Link)
	if err != nil {
		return err
	}
	defer f.close()
	if _, err := p.under(obviousName); err != nil {
		return err
	}
	if err := p.mkdir("sshfs", "view", "far-view"); err != nil {
		return err
	}
	if err := p.rcloneCrypt(ctx, f); err != nil {
		return err
	}
	t := &writeTable{o: o, runs: runs{first: writers[0]}}
	for range o.Runs {
		t.next()
		for _, name := range writers {
			for _, sc := range p.writeScenes(ctx, name, max(50*o.Size/10_000, 2)) {
				v, err := o.sit(ctx, p, f, l, name, sc)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				t.add(name, sc.name, v)
			}
		}
	}
	return t.report(ctx, p, f)
}

// sit measures a scene, with an empty remote and a server just started.
func (o *WriteOptions) sit(ctx context.Context, p *place, f *far, l *library, name string, sc scene) (look, error) {
	if err := p.emptyRemote(ctx); err != nil {
		return look{}, err
	}
	if err := dropCaches(); err != nil {
		return look{}, err
	}
	if name == sftpPut {
		return f.sftpPut(ctx, p, l)
	}
	srv, err := newWriter(name, p, f, o.Guest)
	if err != nil {
		return look{}, err
	}
	up, c, err := p.open(ctx, f.lab.DialGuest, srv)
	if err != nil {
		return look{}, err
	}
	looks, err := f.look(ctx, c, l, sitting{scenes: []scene{sc}})
	c.close()
	memory, cerr := up.close()
	if err != nil || cerr != nil {
		return look{}, errors.Join(err, cerr)
	}
	looks[0].memory = memory
	return looks[0], nil
}

// emptyRemote leaves on the remote an empty vault, and empty folders for the others.
func (p *place) emptyRemote(ctx context.Context) error {
	if err := os.RemoveAll(p.path("remote")); err != nil {
		return err
	}
	if err := p.mkdir("remote", "remote/vault", "remote/crypt"); err != nil {
		return err
	}
	// With -scryptn 10 the passphrase costs no second; it is none of what is measured.
	_, err := p.run(ctx, nil, nil, nil, step{Argv: []string{"gocryptfs", "-quiet", "-init", "-scryptn", "10", "-passfile", p.secret(), p.path("remote/vault")}})
	return err
}

// newWriter is a server in p that is written to. guest is the guest binary.
func newWriter(name string, p *place, f *far, guest string) (server, error) {
	sshfs, view := p.path("sshfs"), p.path("view")
	// Each mount is taken down by its steps, the last one first.
	mounted := func(serve []step, options ...string) []step {
		return append(append([]step{
			{Argv: append([]string{"sshfs", "-F", f.config, farAlias + ":" + p.path("remote/vault"), sshfs}, options...)},
			{Argv: []string{"gocryptfs", "-quiet", "-passfile", p.secret(), sshfs, view}},
		}, serve...),
			step{Argv: []string{"fusermount3", "-u", view}, Always: true},
			step{Argv: []string{"fusermount3", "-uz", sshfs}, Always: true}) // gocryptfs may be about to end
	}
	switch name {
	case ours: // sshfs as ops.mountRemote has it, but for ro
		s, err := p.guestServer(guest, view, peerAddr)
		s.steps = mounted(s.steps, "-o", "reconnect,BatchMode=yes,attr_timeout=0,workaround=fstat")
		return s, err
	case obvious:
		s, err := newServer(obvious, p, f, "")
		s.few = false
		s.steps = mounted([]step{{Argv: []string{p.mem + "/" + obviousName, view, peerAddr}}})
		return s, err
	}
	return newServer(name, p, f, "")
}

// writeScenes are what is measured over the link.
func (p *place) writeScenes(ctx context.Context, name string, files int) []scene {
	film := scene{name: putFilmScene, take: func(ctx context.Context, c *davClient, l *library) (float64, error) {
		return 1, c.putOne(ctx, filmName, l.film, int64(len(l.film)))
	}, right: func(l *library) error { return p.onRemote(ctx, name, filmName, l.film) }}
	small := scene{name: putSmallScene, take: func(ctx context.Context, c *davClient, _ *library) (float64, error) {
		return 1, c.many(ctx, 1, files, func(k *keepAlive, n int) error {
			return k.put(smallName(n), noise(uint64(n)+1, smallSize), smallSize)
		})
	}, right: func(*library) error {
		// One of them is enough, as all were made in the same way.
		return p.onRemote(ctx, name, smallName(files-1), noise(uint64(files), smallSize))
	}}
	if name == sftpPut {
		return []scene{film}
	}
	return []scene{film, small}
}

const (
	putFilmScene  = "32 MiB put"
	putSmallScene = "50 files of 4 KiB put, one after the other"
)

func smallName(n int) string { return fmt.Sprintf("note%03d.txt", n) }

// onRemote is an error if a file is not on the remote as it was put. It looks there without
// the link, and without the server that has written it.
func (p *place) onRemote(ctx context.Context, by, name string, want []byte) error {
	a := &arrival{want: want}
	steps := []step{{Argv: []string{"rclone", "--config", p.path("rclone.conf"), "cat", "filled:" + name}}}
	switch view := p.path("far-view"); by {
	case ours, obvious:
		steps = []step{
			{Argv: []string{"gocryptfs", "-quiet", "-ro", "-passfile", p.secret(), p.path("remote/vault"), view}},
			{Argv: []string{"cat", view + "/" + name}},
			{Argv: []string{"fusermount3", "-u", view}, Always: true},
		}
	case sftpPut:
		steps = []step{{Argv: []string{"cat", p.path("remote/" + name)}}}
	}
	if _, err := p.run(ctx, nil, nil, a, steps...); err != nil {
		return fmt.Errorf("what is on the remote: %w", err)
	}
	if a.at != len(want) {
		return proto.Errorf(proto.Different, "%d of %d bytes are on the remote", a.at, len(want))
	}
	return nil
}

// sftpPut measures the link: from the command to the next one, so without the login.
func (f *far) sftpPut(ctx context.Context, p *place, l *library) (look, error) {
	batch := p.path("batch")
	if err := os.WriteFile(batch, []byte(p.sftpCommands()), 0o600); err != nil {
		return look{}, err
	}
	before, wrote, sent := f.sftp(), f.wrote(), f.lab.Sent()
	said := &prompts{}
	if _, err := p.run(ctx, nil, nil, said, f.put(p)); err != nil {
		return look{}, err
	}
	if len(said.at) != 2 {
		return look{}, proto.Errorf(proto.Internal, "sftp does not say when it begins: %d prompts", len(said.at))
	}
	after := f.sftp()
	v := look{d: said.at[1].Sub(said.at[0]), requests: after[0] - before[0], rounds: after[1] - before[1],
		wrote: f.wrote().since(wrote), sent: f.since(sent)}
	fmt.Fprintf(os.Stderr, "%s: %s\n", sftpPut, seconds(v.d))
	return v, p.onRemote(ctx, sftpPut, filmName, l.film)
}

// sftpCommands are sftp's: -f has it sync the file. The second tells when the first has ended.
func (p *place) sftpCommands() string {
	return fmt.Sprintf("put -f %s %s\npwd\n", p.path("source/"+filmName), p.path("remote/"+filmName))
}

// put is the command that takes the film as fast as sftp does, and syncs it.
func (f *far) put(p *place) step {
	return step{Argv: []string{"sftp", "-F", f.config, "-b", p.path("batch"), farAlias}}
}

// prompts is a writer that knows when sftp said that it begins with a command.
type prompts struct{ at []time.Time }

func (w *prompts) Write(b []byte) (int, error) {
	for range bytes.Count(b, []byte("sftp> ")) {
		w.at = append(w.at, time.Now())
	}
	return len(b), nil
}
