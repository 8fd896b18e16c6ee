//go:build linux

package ops

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sync/errgroup"

	"fuseless/guest/proto"
	"fuseless/guest/rsync"
	"fuseless/guest/store"
)

// When a link breaks, the rsync on the remote may not notice for many minutes:
// what arrived of a file then lies in its temporary file, where a second rsync
// does not look, and would be sent again. rescue moves it into rsync's partial
// folder. The first one may go on writing into it, at the latest when it ends:
// so the second completes it in a copy (rsync.Run.Apart). Nor can the first one
// put it anywhere: it is not any more where it would take it from.

// inFlight bounds the files that may be under way when a link breaks: those
// that fill all the buffers between the two rsyncs, and one more.
const (
	inFlightFiles = 5000
	inFlightBytes = 64 << 20
)

// flight notes which files a pass of rsync sends.
type flight struct {
	names []string // encrypted paths, the last ones
}

// add notes one change: rsync names a file before it sends it.
func (f *flight) add(what, p string) {
	if !strings.HasPrefix(what, "<f") {
		return
	}
	if len(f.names) >= 2*inFlightFiles {
		f.names = append(f.names[:0], f.names[inFlightFiles:]...)
	}
	f.names = append(f.names, p)
}

// strand is what may have been under way, the last first.
func (f *flight) strand(image string) []string {
	var l []string
	var sum int64
	for i := len(f.names) - 1; i >= 0 && len(l) < inFlightFiles && sum < inFlightBytes; i-- {
		l = append(l, f.names[i])
		if fi, err := os.Lstat(filepath.Join(image, f.names[i])); err == nil && len(l) > 1 {
			sum += fi.Size()
		}
	}
	return l
}

// strand notes what a pass that broke may have had under way. Its files are
// counted, since rsync tells no sums; those that the next pass names again are
// not counted twice.
func (b *backup) strand(f *flight) {
	b.stranded = append(b.stranded, f.strand(b.image.Path)...)
	if b.named == nil {
		b.named = map[string]bool{}
	}
	for _, n := range f.names {
		b.named[n] = true
	}
}

// rescue takes care of what a pass left that broke. Only the link can make it
// fail: all else rsync meets, too.
func (b *backup) rescue(ctx context.Context) error {
	if len(b.stranded) == 0 {
		return nil
	}
	st, back, err := b.store(ctx)
	if err != nil {
		return err
	}
	defer back()
	dirs := map[string]map[string]bool{}
	for _, p := range b.stranded {
		dir, name := path.Split(p)
		if dirs[dir] == nil {
			dirs[dir] = map[string]bool{}
		}
		dirs[dir][name] = true
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for dir, names := range dirs {
		g.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			err := rescueIn(st, path.Join(b.Destination.Path, dir), filepath.Join(b.image.Path, dir), names)
			if errors.Is(err, proto.ErrLink) {
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	b.stranded = nil
	return nil
}

// rescueIn is rescue for one folder of the vault; image is the same one in the
// image.
func rescueIn(st store.FS, vault, image string, names map[string]bool) error {
	entries, err := st.ReadDir(vault)
	if err != nil {
		return err
	}
	partials := path.Join(vault, rsync.PartialDir)
	arrived := map[string]int64{} // size of what is in the partial folder
	temps := map[string][]fs.FileInfo{}
	for _, e := range entries {
		switch {
		case e.Name() == rsync.PartialDir && e.IsDir():
			kept, err := st.ReadDir(partials)
			if err != nil {
				return err
			}
			for _, k := range kept {
				arrived[k.Name()] = k.Size()
			}
		case e.Mode().IsRegular():
			if name, ok := tempOf(e.Name(), names); ok {
				temps[name] = append(temps[name], e)
			}
		}
	}
	for name, all := range temps {
		_, gone := os.Lstat(filepath.Join(image, name))
		for _, t := range all {
			if gone != nil { // nobody would ever complete it
				err = errors.Join(err, st.Remove(path.Join(vault, t.Name())))
			} else {
				err = errors.Join(err, keep(st, vault, t, name, arrived))
			}
		}
	}
	return err
}

// keep moves a temporary file to the partial folder, unless more of the file is
// there already.
func keep(st store.FS, vault string, temp fs.FileInfo, name string, arrived map[string]int64) error {
	from := path.Join(vault, temp.Name())
	partials := path.Join(vault, rsync.PartialDir)
	to := path.Join(partials, name)
	size, had := arrived[name]
	if had && size >= temp.Size() {
		return st.Remove(from)
	}
	if err := st.MkdirAll(partials); err != nil {
		return err
	}
	if had {
		if err := st.Remove(to); err != nil {
			return err
		}
	}
	err := st.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its rsync has ended, and moved it itself
	}
	if err == nil {
		arrived[name] = temp.Size()
	}
	return err
}

// rsync's temporary file for NAME is .NAME.XXXXXX; a long NAME is cut (receiver.c,
// get_tmpname). No name that gocryptfs makes begins with a dot.
var tempRE = regexp.MustCompile(`^\.(.+)\.[A-Za-z0-9]{6}$`)

// uncut is the length up to which a name surely stands whole in a temporary one.
const uncut = 240

// tempOf tells whose temporary file temp is, among names.
func tempOf(temp string, names map[string]bool) (name string, ok bool) {
	m := tempRE.FindStringSubmatch(temp)
	if m == nil {
		return "", false
	}
	if names[m[1]] {
		return m[1], true
	}
	if len(m[1]) < uncut {
		return "", false
	}
	for n := range names {
		if strings.HasPrefix(n, m[1]) {
			return n, true
		}
	}
	return "", false
}
