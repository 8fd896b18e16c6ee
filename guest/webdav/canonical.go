package webdav

import (
	"context"
	"io/fs"
	"path"
	"strings"
)

// linksMax is how many symbolic links one name may lead through: as many as os.Root follows, or
// there would be ways to write to what cannot be read.
const linksMax = 8

// Canonical is name with the symbolic links among its folders, and with whole also name itself,
// replaced by what they lead to. What cannot be followed stays as it is: it is hidden, too.
func (d *Dir) Canonical(_ context.Context, name string, whole bool) string {
	name = path.Join(d.canonical(path.Dir(name)), path.Base(name))
	if whole {
		if fi, err := d.stat("stat", name); err == nil && isLink(fi) {
			return d.canonical(name)
		}
	}
	return name
}

func (d *Dir) canonical(name string) string {
	at, rest, links := ".", strings.Split(name, "/"), 0
	for len(rest) > 0 {
		e := rest[0]
		rest = rest[1:]
		switch {
		case e == "" || e == ".":
			continue
		case e == ".." && at == ".":
			return name // out of the root
		case e == "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, e)
		fi, err := d.root.Lstat(next)
		if err != nil { // of what is not there yet, too
			return path.Join(next, path.Join(rest...))
		}
		if fi.Mode().Type() != fs.ModeSymlink {
			at = next
			continue
		}
		to, err := d.root.Readlink(next)
		if links++; err != nil || path.IsAbs(to) || links > linksMax {
			return name
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return at
}
