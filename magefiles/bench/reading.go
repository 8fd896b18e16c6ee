package bench

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"fuseless/guest/proto"
)

// scene is one thing that a client does with a server.
type scene struct {
	name string
	// before does what a client does before it, which is not measured; it may be nil.
	before func(ctx context.Context, c *davClient, l *library) error
	// take does it, for as much as the name says, divided by times.
	take func(ctx context.Context, c *davClient, l *library) (times float64, err error)
	// right says whether the answers were; it may be nil.
	right func(l *library) error
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

// sittings are all that is measured.
func sittings() []sitting {
	return []sitting{
		{scenes: []scene{listing("1,000 files listed, macOS's properties", typedFolder, macOS, false), listing("the same, again", typedFolder, macOS, false)}},
		{scenes: []scene{listing("1,000 files without extension listed, all properties", untypedFolder, allprop, true)}},
		{scenes: []scene{walk()}},
		{scenes: []scene{readSmall()}},
		{scenes: []scene{listLong()}},
		{scenes: []scene{{name: filmScene, take: readFilm}}},
		{slow: true, scenes: []scene{{name: slowFilmScene, take: readFilm}}},
	}
}

// listing lists a folder with as many files as the library's size; or a tenth of that,
// if the server would take minutes for it.
func listing(name, folder, ask string, minutes bool) scene {
	var answer []byte
	at, files := "", 0
	return scene{name: name, take: func(ctx context.Context, c *davClient, l *library) (times float64, err error) {
		at, files, times = folder, l.size, 1
		if minutes && c.few {
			at, files, times = fewFolder+"/"+folder, l.few(), float64(l.size)/float64(l.few())
		}
		answer, err = c.list(ctx, at, ask)
		return times, err
	}, right: func(*library) error { return holds(answer, at, files) }}
}

func listLong() scene {
	var answer []byte
	return scene{name: longScene, take: func(ctx context.Context, c *davClient, _ *library) (_ float64, err error) {
		answer, err = c.list(ctx, longFolder, macOS)
		return 1, err
	}, right: func(*library) error { return holds(answer, longFolder, longNames) }}
}

// holds is an error if the answer does not list so many files, each with its size.
func holds(answer []byte, folder string, want int) error {
	files, _, err := listed(answer, folder)
	if err != nil {
		return err
	}
	if len(files) != want {
		return proto.Errorf(proto.Different, "%q has %d files and not %d", folder, len(files), want)
	}
	for name, size := range files {
		if size != listedSize {
			return proto.Errorf(proto.Different, "%q has %d bytes and not %d", name, size, listedSize)
		}
	}
	return nil
}

// walk lists a folder, and then each folder in it, as a client does that shows a
// tree.
func walk() scene {
	answers := map[string][]byte{}
	return scene{name: "walk of 21 folders with 500 files", take: func(ctx context.Context, c *davClient, l *library) (float64, error) {
		clear(answers)
		for todo := []string{nestedFolder}; len(todo) > 0; todo = todo[1:] {
			answer, err := c.list(ctx, todo[0], macOS)
			if err != nil {
				return 1, err
			}
			answers[todo[0]] = answer
			_, folders, err := listed(answer, todo[0])
			if err != nil {
				return 1, err
			}
			todo = append(todo, folders...)
		}
		return 1, nil
	}, right: func(l *library) error {
		if len(answers) != 1+nestedFolders {
			return proto.Errorf(proto.Different, "the walk found %d folders and not %d", len(answers), 1+nestedFolders)
		}
		for folder, answer := range answers {
			want := l.nested()
			if folder == nestedFolder {
				want = 0
			}
			if err := holds(answer, folder, want); err != nil {
				return err
			}
		}
		return nil
	}}
}

// readSmall lists a folder, and then reads its files by name, one after the
// other. The reading is measured.
func readSmall() scene {
	var names []string
	return scene{name: "200 files of 4 KiB read in order", before: func(ctx context.Context, c *davClient, l *library) error {
		answer, err := c.list(ctx, smallFolder, macOS)
		if err != nil {
			return err
		}
		files, _, err := listed(answer, smallFolder)
		if err == nil && len(files) != l.small() {
			err = proto.Errorf(proto.Different, "%q has %d files and not %d", smallFolder, len(files), l.small())
		}
		names = slices.Sorted(maps.Keys(files))
		return err
	}, take: func(ctx context.Context, c *davClient, l *library) (float64, error) {
		for i, name := range names {
			if err := c.get(ctx, name, noise(uint64(i)+1, smallSize)); err != nil {
				return 1, fmt.Errorf("%s: %w", name, err)
			}
		}
		return 1, nil
	}}
}

func readFilm(ctx context.Context, c *davClient, l *library) (float64, error) {
	return 1, c.get(ctx, filmName, l.film)
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
