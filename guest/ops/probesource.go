//go:build linux

package ops

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/mounts"
	"fuseless/guest/proto"
)

// limits bound the search for a file.
type limits struct {
	entries int64
	time    time.Duration
}

var defaultLimits = limits{entries: 4000, time: 10 * time.Second}

// probeSource reads a byte of one file below dir. Behind a mount of a Mac this
// is what brings up its privacy prompts, and only a read finds out what they
// were answered: a folder may be listed and its files not be read, and a file
// in iCloud has a size and no content.
func probeSource(ctx context.Context, dir string, l limits) proto.SourceProbe {
	var mount string
	var readOnly bool
	if m, err := mounts.Find(filepath.Clean(dir)); err == nil && m != nil {
		mount, readOnly = m.FSType, slices.Contains(strings.Split(m.Options, ","), "ro")
	}
	ctx, cancel := context.WithTimeout(ctx, l.time)
	defer cancel()
	s, ok := bounded(l.time+hungTime, func() proto.SourceProbe {
		w := walk{ctx: ctx, root: dir, limits: l}
		w.search()
		return w.found
	})
	if !ok {
		s.Failed, s.Error = 1, &proto.ProbeError{Code: proto.Source, Text: "no answer within " + (l.time + hungTime).String()}
	}
	s.Path, s.Mount, s.ReadOnly = dir, mount, readOnly
	return s
}

// walk is a search for a file that can be read, folder by folder from the top:
// what lies near the top is what a person would look at first.
type walk struct {
	ctx   context.Context
	root  string
	empty string // a file without content, which proves less
	limits
	found proto.SourceProbe
}

func (w *walk) search() {
	queue := []string{""}
	for len(queue) > 0 {
		below, done := w.folder(queue[0])
		if done {
			return
		}
		queue = append(queue[1:], below...)
	}
	if w.empty != "" {
		w.found.File = []byte(w.empty)
	}
}

// folder tries the files of a folder, and returns the folders in it. done tells
// that a file was read, or that a limit was reached.
func (w *walk) folder(rel string) (below []string, done bool) {
	f, err := os.Open(filepath.Join(w.root, rel))
	if err != nil {
		w.failed(err, rel)
		return nil, false
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(256)
		for _, e := range entries {
			if w.found.Entries >= w.limits.entries || w.ctx.Err() != nil {
				w.found.Limit = true
				if w.empty != "" {
					w.found.File = []byte(w.empty)
				}
				return nil, true
			}
			w.found.Entries++
			p := filepath.Join(rel, e.Name())
			switch {
			case e.IsDir():
				below = append(below, p)
			case e.Type().IsRegular() && p != gocryptfs.ReverseConfigName && w.read(p): // that one is ours, and shows nothing
				w.found.File = []byte(p)
				return nil, true
			}
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			w.failed(err, rel)
		}
		return below, false
	}
}

// read reads the first byte of a file.
func (w *walk) read(rel string) bool {
	// Not blocking: the file may have become a FIFO.
	f, err := os.OpenFile(filepath.Join(w.root, rel), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		w.failed(err, rel)
		return false
	}
	defer f.Close()
	switch _, err := io.ReadFull(f, make([]byte, 1)); {
	case err == nil:
		return true
	case errors.Is(err, io.EOF):
		if w.empty == "" {
			w.empty = rel
		}
	default:
		w.failed(err, rel)
	}
	return false
}

func (w *walk) failed(err error, rel string) {
	if w.found.Failed++; w.found.Error == nil {
		w.found.Error = pathError(proto.Source, err, rel)
	}
}
