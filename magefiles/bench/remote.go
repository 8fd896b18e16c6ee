package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"fuseless/guest/proto"
	"fuseless/magefiles/netlab"
)

// RemoteOptions are what Remote can be told.
type RemoteOptions struct {
	Out     io.Writer
	Readers []string    // nil: all on this machine; the first is what the others are compared with
	Size    int         // of the library; 0: 1,000, and so many files are listed
	Runs    int         // 0: 3; the worst counts
	Link    netlab.Link // the zero Link: 40 ms, 200 Mbit/s
	Slow    netlab.Link // the zero Link: 100 ms, 200 Mbit/s
	Program string      // the task binary; "": it is compiled, and what it and the others need installed
	Temp    string      // folder to work in; "": the one for temporary files
}

// look is what one measurement showed.
type look struct {
	d        time.Duration // for as much as the scene's name says
	reduced  bool          // d was computed from less
	requests int64         // of SFTP; -1: not counted
	rounds   int64
	wrote    written
	sent     netlab.Counters
	memory   int64 // peak of the whole sitting, bytes
}

// Remote measures how a vault on a remote is read over WebDAV: by fuseless,
// `rclone serve webdav` on crypt over sftp, and the obvious server
// (golang.org/x/net/webdav on gocryptfs on sshfs, with their defaults), over the
// same emulated link to a real sshd, and what the link itself gives (ssh cat). It prints tables in
// Markdown. An answer that is not what lies in the source is an error. Each
// sitting begins with new mounts and connections on both ends, and with the
// kernel's caches dropped. It needs Linux, root, and 1 GB of disk below the
// folder for temporary files. What it makes it removes again.
//
// Of the readers, the one through a Lima VM is measured only if it is named: the
// VM is made for it, with an ordinary user, which takes minutes, and both are
// removed again.
func Remote(ctx context.Context, o RemoteOptions) (err error) {
	p, err := newPlace(o.Temp)
	if err != nil {
		return err
	}
	defer func() {
		if rerr := p.remove(); err == nil {
			err = rerr
		}
	}()
	if o.Program, err = p.overLink(ctx, o.Program); err != nil {
		return err
	}
	o.defaults()
	l := &library{dir: p.path("source"), size: o.Size}
	if err := l.make(ctx); err != nil {
		return err
	}
	f, err := p.connect(ctx, netlab.Link{})
	if err != nil {
		return err
	}
	defer f.close()
	if _, err := p.under(obviousName); err != nil {
		return err
	}
	if err := p.mkdir("obvious-vault", "obvious-view"); err != nil {
		return err
	}
	if err := p.stock(ctx, f, o.Program, l); err != nil {
		return err
	}
	if slices.Contains(o.Readers, oursVM) {
		if err := p.startVM(ctx, f, o.Program); err != nil {
			return err
		}
		defer func() {
			if verr := p.vm.close(); err == nil {
				err = verr
			}
		}()
	}
	t := &table{o: o, runs: runs{first: o.Readers[0]}}
	for range o.Runs {
		t.next()
		for _, name := range o.Readers {
			for _, s := range sittings() {
				if err := o.sit(ctx, p, f, l, name, s, t); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
	}
	return t.report(ctx, p, f)
}

func (o *RemoteOptions) defaults() {
	if o.Readers == nil {
		o.Readers = readers
	}
	o.Size, o.Runs = cmp.Or(o.Size, 1000), cmp.Or(o.Runs, 3)
	if o.Link == (netlab.Link{}) {
		o.Link = netlab.Link{RTT: 40 * time.Millisecond, Rate: 200_000_000}
	}
	if o.Slow == (netlab.Link{}) {
		o.Slow = netlab.Link{RTT: 100 * time.Millisecond, Rate: 200_000_000}
	}
}

// sit measures the scenes of a sitting.
func (o *RemoteOptions) sit(ctx context.Context, p *place, f *far, l *library, name string, s sitting, t *table) error {
	f.lab.SetLink(o.Link)
	if s.slow {
		f.lab.SetLink(o.Slow)
	}
	if err := dropCaches(); err != nil {
		return err
	}
	switch {
	case name == sshCat:
		return catFilm(ctx, p, f, l, s, t)
	case name == rclone && s.scenes[0].name == longScene:
		return nil // it cannot store them
	}
	srv, err := newServer(name, p, f, o.Program)
	if err != nil {
		return err
	}
	up, c, err := p.open(ctx, f.lab.DialGuest, srv)
	if err != nil {
		return err
	}
	looks, err := f.look(ctx, c, l, s)
	c.close()
	memory, cerr := up.close()
	if err != nil || cerr != nil {
		return errors.Join(err, cerr)
	}
	for i, v := range looks {
		v.memory = memory
		t.add(name, s.scenes[i].name, v)
	}
	return nil
}

// look measures the scenes with a server that is up.
func (f *far) look(ctx context.Context, c *davClient, l *library, s sitting) (looks []look, err error) {
	for _, sc := range s.scenes {
		if sc.before != nil {
			if err := sc.before(ctx, c, l); err != nil {
				return nil, fmt.Errorf("%s: %w", sc.name, err)
			}
		}
		f.quiet(ctx)
		before, wrote, sent := f.sftp(), f.wrote(), f.lab.Sent()
		begun := time.Now()
		times, err := sc.take(ctx, c, l)
		d := time.Since(begun)
		if err == nil && sc.right != nil {
			err = sc.right(l)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sc.name, err)
		}
		f.quiet(ctx) // what is fetched for nobody costs, too
		after := f.sftp()
		looks = append(looks, look{d: time.Duration(float64(d) * times), reduced: times > 1,
			requests: after[0] - before[0], rounds: after[1] - before[1], wrote: f.wrote().since(wrote), sent: f.since(sent)})
		fmt.Fprintf(os.Stderr, "%s: %s\n", sc.name, seconds(d))
	}
	return looks, nil
}

// quiet waits until nothing is asked of the remote any more.
func (f *far) quiet(ctx context.Context) {
	const long = 300 * time.Millisecond // longer than a round trip
	for last := [2]int64{-1}; ctx.Err() == nil && last != f.sftp(); {
		last = f.sftp()
		time.Sleep(long)
	}
}

// since is what was sent after before.
func (f *far) since(before netlab.Counters) netlab.Counters {
	now := f.lab.Sent()
	return netlab.Counters{ToRemote: now.ToRemote - before.ToRemote, ToGuest: now.ToGuest - before.ToGuest}
}

// catFilm measures the link.
func catFilm(ctx context.Context, p *place, f *far, l *library, s sitting, t *table) error {
	for _, sc := range s.scenes {
		if sc.name != filmScene && sc.name != slowFilmScene {
			continue
		}
		sent := f.lab.Sent()
		a := &arrival{want: l.film}
		if _, err := p.run(ctx, nil, nil, a, f.cat(p)); err != nil {
			return err
		}
		if a.at != len(a.want) {
			return proto.Errorf(proto.Different, "%d of %d bytes came", a.at, len(a.want))
		}
		t.add(sshCat, sc.name, look{d: a.last.Sub(a.first), requests: -1, sent: f.since(sent)})
	}
	return nil
}

// sftp are the requests to the remote's sftp servers so far, and the round trips
// for which somebody waited.
func (f *far) sftp() [2]int64 { return [2]int64{f.counts.requests.Load(), f.counts.rounds.Load()} }

// cat is the command that brings the film as fast as the link allows.
func (f *far) cat(p *place) step {
	return step{Argv: []string{"ssh", "-F", f.config, farAlias, "cat", p.path("remote/film")}}
}

// dropCaches makes the kernel forget what it can (Documentation/admin-guide/sysctl/vm.rst).
func dropCaches() error {
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return proto.Errorf(proto.Prerequisite, "cannot drop the kernel's caches: %w", err).WithHint("run it as root")
	}
	return nil
}
