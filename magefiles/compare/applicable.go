package compare

import "slices"

// For is the table for a source that need not have everything, such as one that
// an ordinary user or macOS made: a row for which want has nothing to lose still
// permits, but does not have to occur. For a complete nasty tree it changes nothing.
func (l Losses) For(want Tree) Losses {
	out := slices.Clone(l)
	for i := range out {
		out[i].idle = !out[i].applicable(want)
	}
	return out
}

// applicable says whether want has something that l must take away or change.
func (l Loss) applicable(want Tree) bool {
	switch {
	case l.Attribute == Extra && len(l.Link) == 0: // nothing in want is its cause
		return true
	case l.Attribute == Owner && l.Got != notCarried && want.oneOwner():
		return false // who may be the one that is shown for all
	}
	for p, e := range want.Entries {
		var reach Reach
		to := e
		if e.Kind == Symlink {
			var target string
			if target, reach = want.follow(p); reach == Inside {
				to = want.Entries[target]
			}
		}
		if l.Attribute == Extra {
			if e.Kind == Symlink && to.Kind == Dir && slices.Contains(l.Link, string(reach)) {
				return true
			}
		} else if e.has(l.Attribute) && l.selects(p, e, reach) {
			return true
		}
	}
	return false
}

func (t Tree) oneOwner() bool {
	owners := map[[2]uint32]bool{}
	for _, e := range t.Entries {
		owners[[2]uint32{e.UID, e.GID}] = true
	}
	return len(owners) == 1
}

// has says whether e has something of attribute a that could be lost.
func (e *Entry) has(a Attribute) bool {
	switch a {
	case Size, Content:
		return e.Kind == File
	case Target:
		return e.Kind == Symlink
	case MTimeSubsecond:
		return e.MTime.Nanosecond() != 0
	case HardLink:
		return e.Paths > 1
	case Xattr:
		return len(e.Xattrs) > 0
	case Holes:
		return e.Sparse()
	case Rdev:
		return e.Kind == CharDev || e.Kind == BlockDev
	}
	return true
}
