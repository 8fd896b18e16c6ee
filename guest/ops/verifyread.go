//go:build linux

package ops

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"fuseless/guest/coverage"
	"fuseless/guest/proto"
)

// fileWeight is what a file counts besides its size, in bytes, when the vault is
// divided into shares: opening one takes time, too.
const fileWeight = 4096

func (w *viewing) path(f file) string {
	name := w.base[f.name:]
	return path.Join(w.dirs[f.dir], string(name[:bytes.IndexByte(name, 0)]))
}

// read reads the wanted share of the files, those first that were never read or
// whose reading is the longest ago, and remembers each that is well.
func (w *viewing) read(ctx context.Context) error {
	known, err := coverage.Open(w.state)
	if err != nil {
		return err
	}
	defer known.Close()
	key := func(f file) coverage.Key { return coverage.KeyOf(w.Destination.Label, w.path(f)) }
	var all int64
	for i := range w.files {
		f := &w.files[i]
		f.read = known.Read(key(*f), f.size, f.mtime, w.started)
		all += f.size + fileWeight
	}
	slices.SortStableFunc(w.files, func(a, b file) int { return cmp.Compare(a.read, b.read) })
	want := int64(float64(all) * float64(w.Verify.Share) / 100)
	if w.Verify.Share >= 100 {
		want = all
	}
	p := &reading{viewing: w, total: want, begun: time.Now()}
	res := &proto.VerifyRead{AllFiles: int64(len(w.files)), AllBytes: w.total}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(verifyWidth)
	for i, given := 0, int64(0); i < len(w.files) && given < want && gctx.Err() == nil; i++ {
		f := &w.files[i]
		given += f.size + fileWeight
		g.Go(func() error {
			ok, err := p.one(gctx, *f)
			if err != nil || !ok {
				f.read = 0
				return err
			}
			f.read = time.Now().Unix()
			w.mu.Lock()
			res.Files++
			res.Bytes += f.size
			w.mu.Unlock()
			return known.Add(coverage.Record{Key: key(*f), Size: f.size, Mtime: f.mtime, Read: f.read})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	now := time.Now()
	records := make([]coverage.Record, 0, len(w.files))
	oldest := now.Unix()
	for _, f := range w.files {
		if f.read == 0 {
			continue
		}
		records = append(records, coverage.Record{Key: key(f), Size: f.size, Mtime: f.mtime, Read: f.read})
		res.KnownFiles++
		res.KnownBytes += f.size
		oldest = min(oldest, f.read)
	}
	res.Oldest = now.Sub(time.Unix(oldest, 0))
	w.verify.mu.Lock()
	w.result.Read = res
	w.verify.mu.Unlock()
	return known.Keep(records)
}

// reading is the reading of a share of the files.
type reading struct {
	*viewing
	total int64
	begun time.Time

	mu    sync.Mutex // guards what follows
	done  int64
	files int
	shown time.Time
}

// buffers hold a MiB each, one for each file that is being read.
var buffers = sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}

// one reads a file to its end. gocryptfs authenticates every block of it. ok is
// false for one that was named as damaged, or could not be read.
func (p *reading) one(ctx context.Context, f file) (ok bool, err error) {
	plain := p.path(f)
	for try := 1; ; try++ {
		n, rerr := p.through(ctx, filepath.Join(p.root, plain))
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case rerr == nil && n != f.size:
			p.unchecked(plain + ": it changed while it was read")
			return false, nil
		case rerr == nil:
			return true, nil
		case try == 1 && !p.said.corrupt(f.ino) && !errors.Is(rerr, os.ErrPermission):
			// A link that broke may have come back.
			if err := p.alive(ctx); err != nil {
				return false, err
			}
			continue
		}
		return false, p.trouble(ctx, plain, f.ino, rerr)
	}
}

func (p *reading) through(ctx context.Context, name string) (n int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	p.add(fileWeight, 1)
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for ctx.Err() == nil {
		m, err := f.Read(*buf)
		n += int64(m)
		p.add(int64(m), 0)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, ctx.Err()
}

// add counts what was read, and shows it twice a second.
func (p *reading) add(bytes int64, files int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += bytes
	p.files += files
	now := time.Now()
	if now.Sub(p.shown) < 500*time.Millisecond {
		return
	}
	p.shown = now
	pr := proto.Progress{Bytes: p.done, Files: p.files, Percent: 100}
	if p.total > 0 {
		pr.Percent = int(min(float64(p.done)/float64(p.total)*100, 100))
	}
	if s := now.Sub(p.begun).Seconds(); s > 0 {
		if rate := float64(p.done) / s; rate >= 1 {
			pr.Rate, pr.Left = int64(rate), int(float64(max(p.total-p.done, 0))/rate)
		}
	}
	p.event(proto.Event{Kind: proto.KindProgress, Progress: &pr})
}
