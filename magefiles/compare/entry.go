// Package compare judges a round trip: it takes snapshots of trees, lists
// every difference between two of them, and holds the differences against a
// table of permitted losses. It is strict both ways: a difference that no row
// permits is a failure, and so is a row whose loss does not occur.
package compare

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is what an entry of a tree is.
type Kind string

// The kinds of entries. Unknown is an entry that could not even be stat'ed.
const (
	File     Kind = "file"
	Dir      Kind = "dir"
	Symlink  Kind = "symlink"
	FIFO     Kind = "fifo"
	Socket   Kind = "socket"
	CharDev  Kind = "chardev"
	BlockDev Kind = "blockdev"
	Unknown  Kind = "unknown"
)

var kinds = []Kind{File, Dir, Symlink, FIFO, Socket, CharDev, BlockDev, Unknown}

// Attribute is what two trees can differ in.
type Attribute string

// The attributes, in the order in which differences of one path are listed.
const (
	Missing        Attribute = "missing"         // wanted, and not there
	Extra          Attribute = "extra"           // there, and not wanted
	Unreadable     Attribute = "unreadable"      // could not be read in full, on either side
	KindOf         Attribute = "kind"            // a file instead of a symlink, for example
	Size           Attribute = "size"            // of a file, in bytes
	Content        Attribute = "content"         // of a file
	Target         Attribute = "target"          // of a symlink
	Mode           Attribute = "mode"            // the 12 permission bits; not of symlinks, which have none (symlink(7))
	Owner          Attribute = "owner"           // uid and gid, as numbers
	MTime          Attribute = "mtime"           // differs in whole seconds
	MTimeSubsecond Attribute = "mtime-subsecond" // the same whole second, another fraction
	HardLink       Attribute = "hardlink"        // which other paths of the tree share the inode
	LinkCount      Attribute = "nlink"           // the same paths share the inode, yet the link count differs
	Xattr          Attribute = "xattr"           // extended attributes; ACLs and capabilities are among them
	Holes          Attribute = "holes"           // whether a file takes less space than its size
	Rdev           Attribute = "rdev"            // device number
)

var attributes = []Attribute{
	Missing, Extra, Unreadable, KindOf, Size, Content, Target, Mode, Owner,
	MTime, MTimeSubsecond, HardLink, LinkCount, Xattr, Holes, Rdev,
}

// Entry is one file, folder, symlink or special file.
type Entry struct {
	Kind   Kind
	Size   int64             // bytes; files only
	Sum    string            // SHA-256 of the content in hex; files only, "" if it was not read in full
	Target string            // symlinks only
	Mode   uint32            // the 12 permission bits, with setuid, setgid and sticky
	UID    uint32            //
	GID    uint32            //
	MTime  time.Time         // UTC. Not nanoseconds since 1970: those end in 2262, ext4's dates in 2446
	Inode  string            // the smallest path of the tree with the same inode, its own if alone; "" for folders
	Paths  int               // how many paths of the tree have this inode
	Links  uint64            // link count, which also counts links from outside of the tree
	Xattrs map[string]string // by full name, such as user.x
	Blocks int64             // allocated, of 512 bytes
	Rdev   uint64            // devices only
	Err    string            // why it could not be read in full, or ""
}

// Sparse says whether e is a file with holes: it takes less space than its size.
func (e *Entry) Sparse() bool { return e.Kind == File && e.Blocks*512 < e.Size }

// Tree is a snapshot of a folder and everything in it.
type Tree struct {
	// Entries by path relative to the root, as raw bytes (a name need not be
	// UTF-8), with slashes; the root itself is ".".
	Entries map[string]*Entry

	// Known says which attributes this kind of snapshot can express. What a
	// tree does not know is a loss when it is compared with one that does.
	Known map[Attribute]bool
}

func newTree(known ...Attribute) Tree {
	t := Tree{Entries: map[string]*Entry{}, Known: map[Attribute]bool{}}
	for _, a := range known {
		t.Known[a] = true
	}
	return t
}

// Paths are all paths of the tree in byte order.
func (t Tree) Paths() []string {
	paths := make([]string, 0, len(t.Entries))
	for p := range t.Entries {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	return paths
}

// text is attribute a of e as a difference shows it.
func (e *Entry) text(a Attribute) string {
	switch a {
	case KindOf, Missing, Extra:
		return string(e.Kind)
	case Unreadable:
		if e.Err == "" {
			return "readable"
		}
		return e.Err
	case Size:
		return fmt.Sprint(e.Size)
	case Content:
		return e.Sum
	case Target:
		return fmt.Sprintf("%q", e.Target)
	case Mode:
		return fmt.Sprintf("%04o", e.Mode)
	case Owner:
		return fmt.Sprintf("%d:%d", e.UID, e.GID)
	case MTime, MTimeSubsecond:
		return e.MTime.UTC().Format(time.RFC3339Nano)
	case HardLink:
		if e.Paths < 2 {
			return none
		}
		return fmt.Sprintf("%d paths, first %q", e.Paths, e.Inode)
	case LinkCount:
		return fmt.Sprint(e.Links)
	case Xattr:
		return e.xattrText()
	case Holes:
		if e.Sparse() {
			return "sparse"
		}
		return none
	case Rdev:
		return fmt.Sprintf("%d,%d", unix.Major(e.Rdev), unix.Minor(e.Rdev))
	}
	return ""
}

func (e *Entry) xattrText() string {
	if len(e.Xattrs) == 0 {
		return none
	}
	var s []string
	for k, v := range e.Xattrs {
		if len(v) > 40 {
			v = v[:40] + "..."
		}
		s = append(s, fmt.Sprintf("%s=%q", k, v))
	}
	sort.Strings(s)
	return strings.Join(s, " ")
}
