package webdav

import (
	"context"
	"io/fs"
	"path"
	"strings"
)

// linksMax is how many symbolic links one name may lead through, as on Linux (path_resolution(7)).
const linksMax = 40

// Canonical is name with the symbolic links among its folders, and with whole also name itself,
// replaced by what they lead to. What cannot be followed stays as it is: it is hidden, too.
func (d *Dir) Canonical(_ context.Context, name string, whole bool) string {
	if !whole {
		return path.Join(d.canonical(path.Dir(name)), path.Base(name))
	}
	return d.canonical(name)
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
		if err != nil || fi.Mode().Type() != fs.ModeSymlink {
			at = next // also of what is not there yet
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
