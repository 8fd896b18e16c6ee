package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"fuseless/guest/proto"
)

// folder is what is read by `bench local`: a library of other proportions.
type folder struct {
	library
	names    []string // of the small files
	contents [][]byte
	pattern  []byte       // what the large file repeats
	answer   bytes.Buffer // of the last listing; made once, as to make it takes time
}

// patternSize is not a power of two, so that a part at a wrong offset shows, and small
// enough to stay in a processor's cache: to compare costs little of what is measured.
const patternSize = 256<<10 - 1

func (l *folder) filmSize() int64 { return 1 << 30 / 10_000 * int64(l.size) }

// noises makes what is read again and again, or written.
func (l *folder) noises() {
	for i := range l.small() {
		l.names = append(l.names, fmt.Sprintf("%s/note%03d.txt", smallFolder, i))
		l.contents = append(l.contents, noise(uint64(i)+1, smallSize))
	}
	l.pattern = noise(0, patternSize)
}

func (l *folder) make(ctx context.Context) error {
	if err := l.fill(ctx, []files{
		{typedFolder, "IMG_%04d.jpg", l.size, listedSize},
		{smallFolder, "note%03d.txt", l.small(), smallSize},
	}); err != nil {
		return err
	}
	l.noises()
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

// localScene is one thing that a client does.
type localScene struct {
	name  string
	times int // that it is done in a run: once, or once for nothing and then bestOf times
	take  func(ctx context.Context, c *davClient, l *folder) (time.Duration, error)
	show  func(l *folder, d time.Duration) string

	// also is what the last take has measured besides, for a row of its own; nil: nothing.
	also     func() time.Duration
	alsoName string
}

// bestOf is how many of one server in a run count: the best of them, since what else the
// machine does only makes it slower.
const bestOf = 5

func localScenes() []localScene {
	list := func(name string, times int, ask string) localScene {
		return localScene{name: name, times: times, take: func(ctx context.Context, c *davClient, l *folder) (time.Duration, error) {
			l.answer.Grow(l.size << 10) // an entry takes less
			return timed(func() error { return c.listInto(ctx, &l.answer, typedFolder, ask) },
				func() error { return holds(l.answer.Bytes(), typedFolder, l.size) })
		}, show: func(_ *folder, d time.Duration) string { return short(d) }}
	}
	read := func(name string, conns int) localScene {
		return localScene{name: name, times: 1 + bestOf, take: func(ctx context.Context, c *davClient, l *folder) (time.Duration, error) {
			return timed(func() error { return c.readMany(ctx, conns, l.size, l.names, l.contents) }, nil)
		}, show: func(l *folder, d time.Duration) string { return fmt.Sprintf("%.0f/s", float64(l.size)/d.Seconds()) }}
	}
	return []localScene{
		list("10,000 files listed by a server just started, macOS's properties", 1, macOS),
		list("the same, again", 1+bestOf, macOS),
		list("10,000 files listed again, all properties", 1+bestOf, allprop),
		read("10,000 times 4 KiB read, 1 connection", 1),
		read("10,000 times 4 KiB read, 8 connections", 8),
		{name: "1 GiB read", times: 1 + bestOf, take: readLocalFilm, show: func(l *folder, d time.Duration) string {
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
