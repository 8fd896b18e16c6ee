//go:build linux

package ops

import (
	"context"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// omissions counts what a backup does not hold, by reason.
type omissions map[string]*proto.Omission

// maxExamples is how many paths are kept for each reason.
const maxExamples = 5

func (o *omissions) add(what, p string) {
	if *o == nil {
		*o = omissions{}
	}
	e := (*o)[what]
	if e == nil {
		e = &proto.Omission{What: what}
		(*o)[what] = e
	}
	e.Count++
	if p != "" && len(e.Examples) < maxExamples {
		e.Examples = append(e.Examples, p)
	}
}

func (o omissions) list(fault bool) []proto.Omission {
	var l []proto.Omission
	for _, e := range o {
		e.Fault = fault
		l = append(l, *e)
	}
	slices.SortFunc(l, func(a, b proto.Omission) int { return strings.Compare(a.What, b.What) })
	return l
}

// What a reverse view cannot carry, whatever it is run with. Measured with
// gocryptfs 2.3; extended attributes were added after 2.6.1.
const (
	lostXattrs  = "extended attributes (tags, resource forks, ACLs, capabilities)"
	lostSpecial = "sockets, FIFOs and devices"
	lostHoles   = "sparse files (contents are kept, holes are filled)"
)

// scanOmissions walks the source for what will not be in the backup though
// nothing fails. It runs beside the transfer; the channel yields once, also
// when ctx ends.
func scanOmissions(ctx context.Context, root string) <-chan omissions {
	ch := make(chan omissions, 1)
	go func() {
		var o omissions
		_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				// rsync meets it too, and reports it.
				return nil
			}
			rel, _ := filepath.Rel(root, p)
			if rel == gocryptfs.ReverseConfigName {
				return nil
			}
			switch t := d.Type(); {
			case t&(fs.ModeNamedPipe|fs.ModeSocket|fs.ModeDevice) != 0:
				o.add(lostSpecial, rel)
				return nil
			case t.IsRegular():
				if fi, err := d.Info(); err == nil {
					if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Blocks*512 < st.Size && st.Size > 4096 {
						o.add(lostHoles, rel)
					}
				}
			}
			if n, err := unix.Llistxattr(p, nil); err == nil && n > 0 {
				o.add(lostXattrs, rel)
			}
			return nil
		})
		ch <- o
	}()
	return ch
}
