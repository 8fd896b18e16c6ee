package bench

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"fuseless/guest/proto"
)

// scene is one thing that a client does with a server.
type scene struct {
	name string
	// take does it, and returns what it took, for times as much as name says.
	take func(ctx context.Context, c *davClient, l *library) (d time.Duration, times float64, err error)
}

// Scenes that not everybody can take.
const (
	longScene     = "20 names of 200 characters listed"
	filmScene     = "128 MiB read"
	slowFilmScene = "128 MiB read, at 100 ms"
)

// sitting is what is measured of a server before it is started anew.
type sitting struct {
	slow   bool // the link is the slow one
	scenes []scene
}

// reading is all that is measured.
var reading = []sitting{
	{scenes: []scene{listing("1,000 files listed, macOS's properties", typedFolder, macOS, false), listing("the same, again", typedFolder, macOS, true)}},
	{scenes: []scene{listing("1,000 files without extension listed, all properties", untypedFolder, allprop, false)}},
	{scenes: []scene{{"walk of 21 folders with 500 files", walk}}},
	{scenes: []scene{{"200 files of 4 KiB read in order, each", readSmall}}},
	{scenes: []scene{{longScene, listLong}}},
	{scenes: []scene{{filmScene, readFilm}}},
	{slow: true, scenes: []scene{{slowFilmScene, readFilm}}},
}

// timed is what f takes.
func timed(f func() error) (time.Duration, error) {
	begun := time.Now()
	err := f()
	return time.Since(begun), err
}

// listing lists a folder with as many files as the library's size. again is a
// second listing, for which there is no reduced number.
func listing(name, folder, ask string, again bool) scene {
	return scene{name, func(ctx context.Context, c *davClient, l *library) (time.Duration, float64, error) {
		at, files, times := folder, l.size, 1.0
		if c.few {
			at, files, times = fewFolder+"/"+folder, l.few(), float64(l.size)/float64(l.few())
		}
		d, err := listOnce(ctx, c, at, ask, files)
		return d, times, err
	}}
}

// listOnce lists a folder of which the number of files is known.
func listOnce(ctx context.Context, c *davClient, folder, ask string, want int) (time.Duration, error) {
	var answer []byte
	d, err := timed(func() (err error) {
		answer, err = c.list(ctx, folder, ask)
		return err
	})
	if err != nil {
		return d, err
	}
	files, _, err := listed(answer, folder)
	if err == nil && len(files) != want {
		err = proto.Errorf(proto.Different, "%q has %d files and not %d", folder, len(files), want)
	}
	return d, err
}

func listLong(ctx context.Context, c *davClient, _ *library) (time.Duration, float64, error) {
	d, err := listOnce(ctx, c, longFolder, macOS, longNames)
	return d, 1, err
}

// walk lists a folder, and then each folder in it, as a client does that shows a
// tree.
func walk(ctx context.Context, c *davClient, l *library) (time.Duration, float64, error) {
	n := 0
	d, err := timed(func() error {
		for todo := []string{nestedFolder}; len(todo) > 0; todo = todo[1:] {
			answer, err := c.list(ctx, todo[0], macOS)
			if err != nil {
				return err
			}
			files, folders, err := listed(answer, todo[0])
			if err != nil {
				return err
			}
			n += len(files)
			todo = append(todo, folders...)
		}
		return nil
	})
	if want := nestedFolders * l.nested(); err == nil && n != want {
		err = proto.Errorf(proto.Different, "the walk found %d files and not %d", n, want)
	}
	return d, 1, err
}

// readSmall lists a folder, and then reads its files by name, one after the
// other. The reading is timed.
func readSmall(ctx context.Context, c *davClient, l *library) (time.Duration, float64, error) {
	answer, err := c.list(ctx, smallFolder, macOS)
	if err != nil {
		return 0, 1, err
	}
	files, _, err := listed(answer, smallFolder)
	if err != nil {
		return 0, 1, err
	}
	if len(files) != l.small() {
		return 0, 1, proto.Errorf(proto.Different, "%q has %d files and not %d", smallFolder, len(files), l.small())
	}
	slices.Sort(files)
	var want [][]byte
	for i := range files {
		want = append(want, noise(uint64(i)+1, smallSize))
	}
	d, err := timed(func() error {
		for i, f := range files {
			if err := c.get(ctx, f, want[i]); err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
		}
		return nil
	})
	return d, 1 / float64(len(files)), err
}

func readFilm(ctx context.Context, c *davClient, l *library) (time.Duration, float64, error) {
	d, err := timed(func() error { return c.get(ctx, filmName, l.film) })
	return d, 1, err
}

// arrival is a writer that compares what it gets with what it is to get, and
// knows when the first byte came, and the last.
type arrival struct {
	want        []byte
	at          int
	first, last time.Time
}

func (a *arrival) Write(b []byte) (int, error) {
	a.last = time.Now()
	if a.first.IsZero() {
		a.first = a.last
	}
	if len(b) > len(a.want)-a.at || !bytes.Equal(b, a.want[a.at:a.at+len(b)]) {
		return 0, proto.Errorf(proto.Different, "what was read differs from the file")
	}
	a.at += len(b)
	return len(b), nil
}
