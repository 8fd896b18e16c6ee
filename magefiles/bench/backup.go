package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"fuseless/guest/proto"
	"fuseless/magefiles/compare"
	"fuseless/magefiles/netlab"
)

// BackupOptions are what Backup can be told.
type BackupOptions struct {
	Out       io.Writer
	Tools     []string    // nil: all; the first is what the others are compared with
	Files     int         // of the tree; 0: 5,000
	Unchanged int         // runs without a change, of which the slowest counts; 0: 3
	Link      netlab.Link // the zero Link: 40 ms, 200 Mbit/s
	Program   string      // the task binary; "": it is compiled, and what it and the others need installed
	Temp      string      // folder to work in; "": the one for temporary files
}

// The phases of each tool.
const (
	first = iota
	unchanged
	changed
	restore
	phases
)

var phaseNames = [phases]string{"first", "no change", "1 % changed", "restore"}

// cost is what a phase took.
type cost struct {
	usage
	sent netlab.Counters
}

// outcome is what was measured of a tool.
type outcome struct {
	name     string
	costs    [phases]cost
	commands []string
}

// Backup measures a first backup, one without a change, one with 1 % of the
// files changed, and a restore: by fuseless, restic, borg, and gocryptfs and
// rsync by hand, on the same files and over the same emulated link, to a real
// sshd. It prints tables in Markdown. A tool whose restored files differ from
// the source is an error. It needs Linux, root, and 2 GB of disk below the
// folder for temporary files. What it makes it removes again.
func Backup(ctx context.Context, o BackupOptions) error {
	p, err := newPlace(o.Temp) // for the task binary alone
	if err != nil {
		return err
	}
	defer p.remove()
	if o.Program, err = p.overLink(ctx, o.Program); err != nil {
		return err
	}
	if o.Files == 0 {
		o.Files = 5000
	}
	if o.Unchanged == 0 {
		o.Unchanged = 3
	}
	if o.Link == (netlab.Link{}) {
		o.Link = netlab.Link{RTT: 40 * time.Millisecond, Rate: 200_000_000}
	}
	var all []outcome
	if o.Tools == nil {
		o.Tools = toolNames
	}
	for _, name := range o.Tools {
		r, err := o.measure(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, r)
	}
	o.report(ctx, all)
	return nil
}

// measure takes a tool through all phases, in a place of its own.
func (o BackupOptions) measure(ctx context.Context, name string) (r outcome, err error) {
	r.name = name
	p, err := newPlace(o.Temp)
	if err != nil {
		return r, err
	}
	defer func() {
		if rerr := p.remove(); err == nil {
			err = rerr
		}
	}()
	source := newTree(p.path("source"), o.Files)
	if err := source.make(ctx); err != nil {
		return r, err
	}
	f, err := p.connect(ctx, o.Link)
	if err != nil {
		return r, err
	}
	defer f.close()
	t, err := newTool(name, p, f, o.Program)
	if err != nil {
		return r, err
	}
	if err := p.mkdir(append(t.folders, "restored")...); err != nil {
		return r, err
	}
	if _, err := p.run(ctx, t.env, nil, nil, t.setup...); err != nil {
		return r, err
	}
	run, n := o.runner(ctx, &r, p, f, t), 0
	for _, phase := range slices.Concat([]int{first}, slices.Repeat([]int{unchanged}, o.Unchanged), []int{changed}) {
		if phase == changed {
			if err := source.change(); err != nil {
				return r, err
			}
		}
		if err := run(phase, t.backup(n)); err != nil {
			return r, err
		}
		n++
	}
	if err := run(restore, t.restore(n-1)); err != nil {
		return r, err
	}
	return r, same(ctx, source.dir, filepath.Join(p.path("restored"), t.at))
}

// runner is what runs the steps of a phase, and keeps what the slowest run of
// each took.
func (o BackupOptions) runner(ctx context.Context, r *outcome, p *place, f *far, t tool) func(phase int, steps []step) error {
	return func(phase int, steps []step) error {
		before := f.lab.Sent()
		u, err := p.run(ctx, t.env, nil, nil, steps...)
		if err != nil {
			return fmt.Errorf("%s: %w", phaseNames[phase], err)
		}
		c := cost{usage: u, sent: f.lab.Sent()}
		c.sent.ToRemote -= before.ToRemote
		c.sent.ToGuest -= before.ToGuest
		fmt.Fprintf(os.Stderr, "%s: %s: %s, CPU %s\n", t.name, phaseNames[phase], seconds(c.Wall), seconds(c.CPU))
		if c.Wall > r.costs[phase].Wall {
			r.costs[phase] = c
		}
		if phase == first || phase == restore {
			for _, s := range steps {
				r.commands = append(r.commands, o.shorten(p, s.String()))
			}
		}
		return nil
	}
}

// shorten makes a command readable: with short names for what is in temporary
// folders.
func (o BackupOptions) shorten(p *place, command string) string {
	return strings.NewReplacer(o.Program, "fuseless", p.dir, "/DIR", p.mem, "/MEM").Replace(command)
}

// keyFile is what gocryptfs keeps in a source, which is no part of a backup of
// the files in it.
const keyFile = ".gocryptfs.reverse.conf"

// same is an error if a folder is not what was restored from its backup.
func same(ctx context.Context, source, restored string) error {
	want, err := compare.Local(ctx, source)
	if err != nil {
		return err
	}
	got, err := compare.Local(ctx, restored)
	if err != nil {
		return err
	}
	delete(want.Entries, keyFile)
	delete(got.Entries, keyFile)
	diffs := compare.Compare(want, got)
	if len(diffs) == 0 {
		return nil
	}
	var said []string
	for _, d := range diffs[:min(len(diffs), 5)] {
		said = append(said, d.String())
	}
	return proto.Errorf(proto.Different, "what was restored differs from the source in %s places, so the result does not count: %s",
		humanize.Comma(int64(len(diffs))), strings.Join(said, "; "))
}
