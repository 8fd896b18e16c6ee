package webdav

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// model is what a WebDAV server is to hold after a sequence of requests, as RFC 4918 and RFC 9110
// have it: a tree, with its dead properties, and a list of locks. It is written from the RFCs, and
// shares no code with the server, so that the same mistake is not in both.
type model struct {
	root   *node
	locks  []*modelLock
	tokens []string // all that were ever given out
	now    time.Time
	keeps  bool                         // the file system keeps dead properties
	seen   map[string]map[string]string // what was at a path with an ETag
	step   int
}

// node is a file or a folder.
type node struct {
	name  string // on disk: in the form in which it was made
	dir   bool
	data  string
	props map[string]string
	kids  map[string]*node // by NFC name, since there are no twins

	// What only the server can say; "" until it has said so. It is to stay so, then.
	etag, modified string
	date           string // modified, as it last said; that of a folder may change
}

// modelLock is a write lock (RFC 4918 6, 7) on the path root.
type modelLock struct {
	token, root  string
	deep, shared bool
	expires      time.Time
}

func newModel(now time.Time, keeps bool) *model {
	return &model{root: &node{dir: true, kids: map[string]*node{}}, now: now, keeps: keeps, seen: map[string]map[string]string{}}
}

// Paths have no slash at either end; "" is the root. One is canonical in NFC.
func canonical(path string) string { return norm.NFC.String(path) }

func split(path string) (folder, base string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

func below(path, folder string) bool {
	return path != folder && (folder == "" || strings.HasPrefix(path, folder+"/"))
}

// find is what is at a path, nil if there is nothing.
func (m *model) find(path string) *node {
	n := m.root
	for e := range strings.SplitSeq(canonical(path), "/") {
		if e == "" {
			continue
		}
		if n = n.kids[e]; n == nil {
			return nil
		}
	}
	return n
}

// folder is the folder in which path is, or may be made; nil if there is none.
func (m *model) folder(path string) *node {
	f, _ := split(path)
	if n := m.find(f); n != nil && n.dir && path != "" {
		return n
	}
	return nil
}

// put places n at path, under the name that is there already, or else the one that is asked for.
func (m *model) put(path string, n *node) {
	_, base := split(path)
	kids := m.folder(path).kids
	if old := kids[canonical(base)]; old != nil {
		base = old.name
	}
	n.name = base
	kids[canonical(base)] = n
}

// take removes what is at path, and gives it.
func (m *model) take(path string) *node {
	_, base := split(path)
	kids := m.folder(path).kids
	n := kids[canonical(base)]
	delete(kids, canonical(base))
	return n
}

// copied is a copy of n, deep or of itself alone.
func (n *node) copied(deep bool) *node {
	c := *n
	c.etag, c.kids, c.props = "", map[string]*node{}, map[string]string{}
	for k, v := range n.props {
		c.props[k] = v
	}
	if deep {
		for k, kid := range n.kids {
			c.kids[k] = kid.copied(true)
		}
	}
	return &c
}

// moved forgets what is not known of n at its new place.
func (n *node) moved() {
	n.etag = ""
	for _, kid := range n.kids {
		kid.moved()
	}
}

// within are the canonical paths of what is at path and in it.
func (m *model) within(path string) (all []string) {
	n := m.find(path)
	if n == nil {
		return nil
	}
	path = canonical(path)
	all = append(all, path)
	for k := range n.kids {
		all = append(all, m.within(strings.TrimPrefix(path+"/"+k, "/"))...)
	}
	return all
}

// on are the locks on a canonical path: RFC 4918 6.1, 7.4.
func (m *model) on(path string) (on []*modelLock) {
	for _, l := range m.locks {
		if l.root == path || l.deep && below(path, l.root) {
			on = append(on, l)
		}
	}
	return on
}

// covers reports whether the lock of a token is on a path.
func (m *model) covers(token, path string) bool {
	return slices.ContainsFunc(m.on(canonical(path)), func(l *modelLock) bool { return l.token == token })
}

// lockedOut reports whether one of the paths may not be changed: there are locks on it, and no
// token of one of them is submitted (7.5; of shared locks one is enough, 6.2).
func (m *model) lockedOut(paths []string, submitted map[string]bool) bool {
	for _, p := range paths {
		on := m.on(canonical(p))
		if len(on) > 0 && !slices.ContainsFunc(on, func(l *modelLock) bool { return submitted[l.token] }) {
			return true
		}
	}
	return false
}

// mixed reports whether there are locks of either depth on one of the paths.
func (m *model) mixed(paths []string) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		on := m.on(canonical(p))
		return slices.ContainsFunc(on, func(l *modelLock) bool { return l.deep != on[0].deep })
	})
}

// unlock ends the locks on what is at path and in it, or only of the latter.
func (m *model) unlock(path string, itself bool) {
	path = canonical(path)
	m.locks = slices.DeleteFunc(m.locks, func(l *modelLock) bool { return below(l.root, path) || itself && l.root == path })
}

// pass lets time pass, in which locks end (6.6).
func (m *model) pass(d time.Duration) {
	m.now = m.now.Add(d)
	m.locks = slices.DeleteFunc(m.locks, func(l *modelLock) bool { return !l.expires.After(m.now) })
}
