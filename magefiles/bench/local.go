package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/prereq"
)

// LocalOptions are what Local can be told.
type LocalOptions struct {
	Out     io.Writer
	Readers []string // nil: all; the first is what the others are compared with
	Size    int      // of the folder that is listed; 0: 10,000, and the other scenes in proportion
	Runs    int      // 0: 3; the worst counts
	Guest   string   // the guest binary; "": what a target would use, and what the others need is installed
	Temp    string   // folder to work in; "": the one for temporary files

	writing bool // they are written to; else they are read
}

// Local measures how a folder of this machine is listed and read over WebDAV, without
// a link: by fuseless as `serve` starts it, the obvious server
// (golang.org/x/net/webdav), `rclone serve webdav`, nginx with dav_ext and apache with
// mod_dav. It prints a table in Markdown. An answer that is not what lies in the
// folder is an error. What lies there is in the kernel's cache: it is
// the servers that are measured. It needs Linux, and 1.2 GB of disk below the folder for
// temporary files, and as much memory. nginx and apache are unpacked there from
// Debian's packages, not installed; without apt, and apache unless root runs
// it, they are left out, which is said. What it makes it removes again.
func Local(ctx context.Context, o LocalOptions) (err error) {
	p, err := newPlace(o.Temp)
	if err != nil {
		return err
	}
	defer func() {
		if rerr := p.remove(); err == nil {
			err = rerr
		}
	}()
	// For apache, which drops its rights. What is secret lies in p.mem.
	if err := os.Chmod(p.dir, 0o711); err != nil {
		return err
	}
	if o.Guest == "" {
		needs := slices.DeleteFunc(prereq.Bench(), func(n prereq.Need) bool { return n.Name() != rclone })
		if err := prereq.Ensure(ctx, needs, os.Stderr); err != nil {
			return err
		}
		if o.Guest, err = guestbin.Path(ctx); err != nil {
			return err
		}
	}
	o.defaults()
	l := &folder{library: library{dir: p.path("shared"), size: o.Size}}
	if err := o.prepare(ctx, l); err != nil {
		return err
	}
	if _, err := p.under(obviousName); err != nil {
		return err
	}
	u, absent := p.peers(ctx, &o)
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &localTable{o: o, runs: runs{first: o.Readers[0]}, absent: absent}
	for range o.Runs {
		if err := p.runLocal(ctx, l, u, t); err != nil {
			return err
		}
	}
	t.report(ctx, u)
	return nil
}

func (o *LocalOptions) defaults() {
	if o.Readers == nil {
		o.Readers = localReaders
	}
	o.Size, o.Runs = cmp.Or(o.Size, 10_000), cmp.Or(o.Runs, 3)
}

func (o *LocalOptions) prepare(ctx context.Context, l *folder) error {
	if o.writing {
		return l.makeEmpty()
	}
	return l.make(ctx)
}

func (o *LocalOptions) scenes() []localScene {
	if o.writing {
		return localWriteScenes()
	}
	return localScenes()
}

func (o *LocalOptions) note() string {
	if o.writing {
		return localWriteNote
	}
	return fmt.Sprintf(localNote, bestOf)
}

// peers unpacks nginx and apache. Those that cannot be had are no more among the readers,
// and absent says why.
func (p *place) peers(ctx context.Context, o *LocalOptions) (u *unpacked, absent []string) {
	o.Readers = slices.Clone(o.Readers)
	leave := func(name, why string) {
		o.Readers = slices.DeleteFunc(o.Readers, func(r string) bool { return r == name })
		absent = append(absent, name+" is left out: "+why)
		fmt.Fprintln(os.Stderr, absent[len(absent)-1])
	}
	if slices.Contains(o.Readers, apache) && os.Geteuid() != 0 {
		leave(apache, "its processes give up their rights, so only root can measure it")
	}
	for _, peer := range []struct {
		name     string
		packages []string
	}{
		{nginx, []string{"nginx", "libnginx-mod-http-dav-ext"}},
		{apache, []string{"apache2-bin"}},
	} {
		if !slices.Contains(o.Readers, peer.name) {
			continue
		}
		if err := p.unpack(ctx, peer.packages...); err != nil {
			leave(peer.name, err.Error())
		}
	}
	return &unpacked{p.path("packages")}, absent
}

// runLocal measures all scenes once. All servers are up, and take turns: what else the
// machine does then meets one as the other, and a server that nobody asks takes
// nothing.
func (p *place) runLocal(ctx context.Context, l *folder, u *unpacked, t *localTable) (err error) {
	t.next()
	type sitting struct {
		name string
		up   *running
		c    *davClient
	}
	var all []sitting
	defer func() {
		for _, s := range all {
			s.c.close()
			memory, cerr := s.up.close()
			if err = errors.Join(err, cerr); err == nil {
				t.remember(s.name, memory)
			}
		}
	}()
	var dialer net.Dialer
	dial := func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }
	for _, name := range t.o.Readers {
		s, err := newLocalServer(ctx, name, p, l.dir, t.o.Guest, u, t.o.writing)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		up, c, err := p.open(ctx, dial, s)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, sitting{name, up, c})
		t.commands(p, s)
	}
	for _, sc := range t.o.scenes() {
		best, also := make([]time.Duration, len(all)), make([]time.Duration, len(all))
		for n := range sc.times {
			for i, s := range all {
				d, err := sc.take(ctx, s.c, l)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", s.name, sc.name, err)
				}
				// The first of several is for nothing.
				if n <= 1 || d < best[i] {
					best[i] = d
				}
				if sc.also == nil {
					continue
				}
				if d := sc.also(); n <= 1 || d < also[i] {
					also[i] = d
				}
			}
		}
		for i, s := range all {
			fmt.Fprintf(os.Stderr, "%s: %s: %s\n", s.name, sc.name, sc.show(l, best[i]))
			t.add(s.name, sc.name, look{d: best[i]})
			if sc.also != nil {
				t.add(s.name, sc.alsoName, look{d: also[i]})
			}
		}
	}
	return nil
}
