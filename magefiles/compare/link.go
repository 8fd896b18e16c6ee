package compare

import (
	"slices"
	"strings"
)

// Reach is where a symlink leads.
type Reach string

// The reaches of symlinks. Inside ends at a file or folder of the same tree;
// Outside leaves the tree or is absolute, wherever it ends; Special ends at a
// FIFO, socket or device of the tree; Dangling ends nowhere or in a loop.
const (
	Inside   Reach = "inside"
	Outside  Reach = "outside"
	Special  Reach = "special"
	Dangling Reach = "dangling"
)

var reaches = []Reach{Inside, Outside, Special, Dangling}

// maxHops is the kernel's limit for symlinks in one path (path_resolution(7)).
const maxHops = 40

// follow resolves path as the kernel would with the tree's root as the
// boundary, and says where it ends.
func (t Tree) follow(path string) (string, Reach) {
	cur, rest, hops := ".", strings.Split(path, "/"), 0
	for len(rest) > 0 {
		c := rest[0]
		rest = rest[1:]
		switch c {
		case "", ".":
			continue
		case "..":
			if cur == "." {
				return "", Outside
			}
			cur = parent(cur)
			continue
		}
		next := join(cur, c)
		e := t.Entries[next]
		switch {
		case e == nil:
			return "", Dangling
		case e.Kind == Symlink:
			if hops++; hops > maxHops {
				return "", Dangling
			}
			if strings.HasPrefix(e.Target, "/") {
				return "", Outside
			}
			rest = append(strings.Split(e.Target, "/"), rest...)
			continue
		case e.Kind != Dir && len(rest) > 0: // ENOTDIR, also for a trailing slash
			return "", Dangling
		}
		cur = next
	}
	switch t.Entries[cur].Kind {
	case File, Dir:
		return cur, Inside
	}
	return "", Special
}

// seen is an entry that shows at a path that leads through symlinks.
type seen struct {
	*Entry
	from string // its own path
}

// throughLinks is what t shows at paths that lead through symlinks, to someone
// who cannot see symlinks because whoever serves the tree follows them, as
// WebDAV servers do: the link's own path and, for a link to a folder, all below.
// Links that got shows as links are left out. A folder is not entered again
// from within itself.
func (t Tree) throughLinks(got Tree) map[string]seen {
	all := map[string]seen{}
	var enter func(at, target string, within []string)
	enter = func(at, target string, within []string) {
		all[at] = seen{t.Entries[target], target}
		if t.Entries[target].Kind != Dir || target == "." || slices.Contains(within, target) ||
			strings.HasPrefix(at+"/", target+"/") {
			return
		}
		within = append(within[:len(within):len(within)], target)
		for p, e := range t.Entries {
			if !strings.HasPrefix(p, target+"/") {
				continue
			}
			here := at + p[len(target):]
			all[here] = seen{e, p}
			if e.Kind != Symlink {
				continue
			}
			if to, reach := t.follow(p); reach == Inside {
				enter(here, to, within)
			}
		}
	}
	for p, e := range t.Entries {
		if g := got.Entries[p]; e.Kind != Symlink || g == nil || g.Kind == Symlink {
			continue
		}
		if to, reach := t.follow(p); reach == Inside {
			enter(p, to, nil)
		}
	}
	return all
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return "."
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}
