package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"fuseless/guest/proto"
)

// folder is what is read by `bench local`: a library of other proportions.
type folder struct {
	library
	names    []string // of the small files
	contents [][]byte
	pattern  []byte // what the large file repeats
}

// patternSize is not a power of two, so that a part at a wrong offset shows, and small
// enough to stay in a processor's cache: to compare costs little of what is measured.
const patternSize = 256<<10 - 1

func (l *folder) filmSize() int64 { return 1 << 30 / 10_000 * int64(l.size) }

func (l *folder) make(ctx context.Context) error {
	if err := l.fill(ctx, []files{
		{typedFolder, "IMG_%04d.jpg", l.size, listedSize},
		{smallFolder, "note%03d.txt", l.small(), smallSize},
	}); err != nil {
		return err
	}
	for i := range l.small() {
		l.names = append(l.names, fmt.Sprintf("%s/note%03d.txt", smallFolder, i))
		l.contents = append(l.contents, noise(uint64(i)+1, smallSize))
	}
	l.pattern = noise(0, patternSize)
	f, err := os.Create(filepath.Join(l.dir, filmName))
	if err != nil {
		return proto.Errorf(proto.NoSpace, "cannot make the files: %w", err)
	}
	defer f.Close()
	for left := l.filmSize(); left > 0 && err == nil && ctx.Err() == nil; left -= patternSize {
		_, err = f.Write(l.pattern[:min(left, patternSize)])
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = readable(l.dir)
	}
	if err != nil {
		return proto.Errorf(proto.NoSpace, "cannot make the files: %w", err)
	}
	return ctx.Err()
}

// readable lets everybody read what is below dir, whatever the umask: apache is not root.
func readable(dir string) error {
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
}

// small is a tenth: 1,000 files.
func (l *folder) small() int { return max(l.size/10, 1) }

// requests is how many small files are read over so many connections: as many as take about
// a second.
func (l *folder) requests(conns int) int {
	if conns == 1 {
		return l.size
	}
	return 3 * l.size
}

// localScene is one thing that a client does.
type localScene struct {
	name string
	take func(ctx context.Context, c *davClient, l *folder) (time.Duration, error)
	show func(l *folder, d time.Duration) string
}

// How often each is done in a run, of which the median counts, after once for nothing.
const (
	listTimes = 5
	filmTimes = 3
)

func localScenes() []localScene {
	list := func(ask string) func(ctx context.Context, c *davClient, l *folder) (time.Duration, error) {
		return func(ctx context.Context, c *davClient, l *folder) (time.Duration, error) {
			var answer bytes.Buffer
			answer.Grow(l.size << 10) // an entry takes less
			return timed(func() error { return c.listInto(ctx, &answer, typedFolder, ask) },
				func() error { return holds(answer.Bytes(), typedFolder, l.size) })
		}
	}
	read := func(conns int) localScene {
		name := "4 KiB read, over and over, 1 connection"
		if conns > 1 {
			name = fmt.Sprintf("4 KiB read, over and over, %d connections", conns)
		}
		return localScene{name, func(ctx context.Context, c *davClient, l *folder) (time.Duration, error) {
			if err := c.readMany(ctx, conns, l.requests(conns)/10, l.names, l.contents); err != nil {
				return 0, err
			}
			return timed(func() error { return c.readMany(ctx, conns, l.requests(conns), l.names, l.contents) }, nil)
		}, func(l *folder, d time.Duration) string {
			return fmt.Sprintf("%.0f/s", float64(l.requests(conns))/d.Seconds())
		}}
	}
	showTime := func(_ *folder, d time.Duration) string { return short(d) }
	return []localScene{
		{"10,000 files listed by a server just started, macOS's properties", list(macOS), showTime},
		{"the same, again", again(listTimes, list(macOS)), showTime},
		{"10,000 files listed, all properties", again(listTimes, list(allprop)), showTime},
		read(1),
		read(8),
		{"1 GiB read", again(filmTimes, readLocalFilm), func(l *folder, d time.Duration) string {
			return fmt.Sprintf("%.1f Gbit/s", float64(l.filmSize())*8/1e9/d.Seconds())
		}},
	}
}

// timed measures f. right, which may be nil, then says whether it was.
func timed(f, right func() error) (time.Duration, error) {
	begun := time.Now()
	err := f()
	d := time.Since(begun)
	if err == nil && right != nil {
		err = right()
	}
	return d, err
}

// again is the median of n times, after once for nothing.
func again(n int, take func(ctx context.Context, c *davClient, l *folder) (time.Duration, error)) func(context.Context, *davClient, *folder) (time.Duration, error) {
	return func(ctx context.Context, c *davClient, l *folder) (time.Duration, error) {
		var all []time.Duration
		for i := range n + 1 {
			d, err := take(ctx, c, l)
			if err != nil {
				return 0, err
			}
			if i > 0 {
				all = append(all, d)
			}
		}
		slices.Sort(all)
		return all[len(all)/2], nil
	}
}

func readLocalFilm(ctx context.Context, c *davClient, l *folder) (time.Duration, error) {
	return timed(func() error {
		resp, err := c.do(ctx, http.MethodGet, filmName, "", http.StatusOK)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return repeats(resp.Body, l.pattern, l.filmSize())
	}, nil)
}

// repeats reads r to its end, and is an error if it is not size bytes of the pattern, over and
// over.
func repeats(r io.Reader, pattern []byte, size int64) error {
	buf := make([]byte, 256<<10)
	for at := int64(0); ; {
		n, err := r.Read(buf)
		for b := buf[:n]; len(b) > 0; {
			want := pattern[at%int64(len(pattern)):]
			want = want[:min(len(want), len(b))]
			if !bytes.Equal(b[:len(want)], want) {
				return proto.Errorf(proto.Different, "what was read differs from the file within the %d bytes after the first %d", len(want), at)
			}
			at += int64(len(want))
			b = b[len(want):]
		}
		switch {
		case at > size, err == io.EOF && at < size:
			return proto.Errorf(proto.Different, "%d bytes were read and not %d", at, size)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
