package compare

import (
	"fmt"
	"sort"
)

// What a difference shows in place of a value.
const (
	none       = "none"
	notCarried = "not carried"
	nothing    = "nothing"
)

// Difference is one attribute of one path that is not as wanted.
type Difference struct {
	Path      string // raw bytes, relative to the root
	Attribute Attribute
	Want, Got string // for people, and for the selectors of a Loss

	Entry *Entry // as wanted; as it is, where nothing was wanted
	// Reach is where Entry leads if it is a symlink, and Inside for what lies
	// behind a symlink that is shown as what it leads to.
	Reach Reach
}

func (d Difference) String() string {
	return fmt.Sprintf("%s %q: want %s, got %s", d.Attribute, d.Path, d.Want, d.Got)
}

// Compare lists how got differs from want, by path and attribute.
//
// An attribute that want does not know is not asked for; one that only got does
// not know is a difference ("not carried") of each entry that has it. An entry
// that could not be read in full is a difference even if neither tree could read
// it. Where the kinds differ, the other attributes are not compared, except that
// a symlink that got shows as the file or folder to which it leads is compared
// with that, and so is everything below.
func Compare(want, got Tree) []Difference {
	c := &comparison{want: want, got: got, seen: want.throughLinks(got)}
	c.groups()
	paths := map[string]bool{}
	for p := range want.Entries {
		paths[p] = true
	}
	for p := range got.Entries {
		paths[p] = true
	}
	for p := range c.seen {
		paths[p] = true
	}
	for p := range paths {
		c.path(p)
	}
	sort.SliceStable(c.diffs, func(i, j int) bool {
		a, b := c.diffs[i], c.diffs[j]
		if a.Path != b.Path {
			return a.Path < b.Path
		}
		return order[a.Attribute] < order[b.Attribute]
	})
	return c.diffs
}

var order = func() map[Attribute]int {
	m := map[Attribute]int{}
	for i, a := range attributes {
		m[a] = i
	}
	return m
}()

type comparison struct {
	want, got Tree
	seen      map[string]seen // want through symlinks
	diffs     []Difference

	// Link groups of the paths that both trees have, so that a missing path is
	// not at the same time a changed group of the others.
	wantGroup, gotGroup map[string]group
}

type group struct {
	first string
	paths int
}

func (c *comparison) groups() {
	of := func(t, other Tree) map[string]group {
		byInode := map[string]group{}
		common := func(p string, e *Entry) bool {
			o := other.Entries[p]
			return o != nil && e.Inode != "" && o.Kind == e.Kind
		}
		for p, e := range t.Entries {
			if common(p, e) {
				g := byInode[e.Inode]
				if g.paths == 0 || p < g.first {
					g.first = p
				}
				g.paths++
				byInode[e.Inode] = g
			}
		}
		byPath := map[string]group{}
		for p, e := range t.Entries {
			if common(p, e) {
				byPath[p] = byInode[e.Inode]
			}
		}
		return byPath
	}
	c.wantGroup, c.gotGroup = of(c.want, c.got), of(c.got, c.want)
}

func (c *comparison) path(p string) {
	w, g := c.want.Entries[p], c.got.Entries[p]
	s, through := c.seen[p]
	switch {
	case g == nil:
		if w == nil {
			w = s.Entry
		}
		c.add(p, Missing, w, string(w.Kind), nothing)
	case w == nil:
		c.add(p, Extra, g, nothing, string(g.Kind))
		if through {
			c.attributes(p, s.Entry, g, false)
		}
	case through:
		c.add(p, KindOf, w, string(w.Kind), string(g.Kind))
		c.attributes(p, s.Entry, g, false)
	default:
		c.attributes(p, w, g, true)
	}
}

// add notes a difference. e is the entry that the selectors of a Loss look at.
func (c *comparison) add(p string, a Attribute, e *Entry, want, got string) {
	d := Difference{Path: p, Attribute: a, Want: want, Got: got, Entry: e}
	s, through := c.seen[p]
	switch {
	case c.want.Entries[p] != nil && e.Kind == Symlink:
		_, d.Reach = c.want.follow(p)
	case c.want.Entries[p] == nil && through && s.Kind == Symlink:
		_, d.Reach = c.want.follow(s.from)
	case c.want.Entries[p] == nil && through:
		d.Reach = Inside
	}
	c.diffs = append(c.diffs, d)
}

// attributes compares w and g at p. linked is false for what is seen through a
// symlink, whose own link count says nothing.
func (c *comparison) attributes(p string, w, g *Entry, linked bool) {
	differ := func(a Attribute) { c.add(p, a, w, w.text(a), g.text(a)) }
	if w.Err != "" || g.Err != "" {
		differ(Unreadable)
	}
	if w.Kind == Unknown || g.Kind == Unknown {
		return // there is nothing to compare, and Err says why
	}
	if w.Kind != g.Kind {
		differ(KindOf)
		return
	}
	// check compares attribute a of an entry that has it.
	check := func(a Attribute, has, equal bool) {
		switch {
		case !c.want.Known[a]:
		case !c.got.Known[a]:
			if has {
				c.add(p, a, w, w.text(a), notCarried)
			}
		case !equal:
			differ(a)
		}
	}
	file, link := w.Kind == File, w.Kind == Symlink
	device := w.Kind == CharDev || w.Kind == BlockDev
	check(Size, file, w.Size == g.Size)
	read := w.Err == "" && g.Err == ""
	if read || w.Sum != "" && g.Sum != "" {
		check(Content, file, w.Sum == g.Sum)
	}
	if read {
		check(Target, link, w.Target == g.Target)
		check(Xattr, len(w.Xattrs) > 0, sameXattrs(w.Xattrs, g.Xattrs))
	}
	if !link {
		check(Mode, true, w.Mode == g.Mode)
	}
	check(Owner, true, w.UID == g.UID && w.GID == g.GID)
	// Unix rounds down, before 1970 too, as stat's seconds and HTTP dates do.
	if w.MTime.Unix() != g.MTime.Unix() || !c.got.Known[MTime] {
		check(MTime, true, false)
	} else {
		check(MTimeSubsecond, w.MTime.Nanosecond() != 0, w.MTime.Equal(g.MTime))
	}
	check(Holes, w.Sparse(), w.Sparse() == g.Sparse())
	check(Rdev, device, w.Rdev == g.Rdev)
	if linked && w.Kind != Dir {
		wg, gg := c.wantGroup[p], c.gotGroup[p]
		check(HardLink, w.Links > 1, wg == gg)
		if c.want.Known[LinkCount] && c.got.Known[LinkCount] && wg == gg && w.Links != g.Links {
			differ(LinkCount)
		}
	}
}

func sameXattrs(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}
