package webdav

import (
	"crypto/rand"
	"fmt"
	"iter"
	"maps"
	"path"
	"sync"
	"time"

	"golang.org/x/text/unicode/norm"
)

// The bounds of locks.
const (
	lockTimeoutMax     = time.Hour // also for who asks for more, or for no end
	lockTimeoutDefault = 10 * time.Minute
	locksMax           = 4096
	sharedMax          = 16      // of one thing: a listing repeats them for all that is in it
	ownerMax           = 2 << 10 // bytes of a lock's owner
)

// lock is a write lock (RFC 4918 6 and 7).
type lock struct {
	token   string // a URI of its own: urn:uuid (RFC 9562)
	root    string // lockKey of what was locked
	href    string // the name by which it was asked for
	dir     bool   // it is a folder
	deep    bool   // Depth: infinity
	shared  bool
	owner   []byte // XML, which declares all its namespaces
	timeout time.Duration
	expires time.Time
}

// locks are those of a server, in memory. They protect clients of this server from each
// other, and from nobody else.
type locks struct {
	now func() time.Time

	mu  sync.Mutex
	all map[string]*lock // by token
}

func newLocks(now func() time.Time) *locks { return &locks{now: now, all: map[string]*lock{}} }

// lockKey is the same for all the forms in which a name may be asked for.
func lockKey(name string) string { return norm.NFC.String(name) }

// covers reports whether a lock is on name (7.4).
func (l *lock) covers(key string) bool { return l.root == key || l.deep && within(key, l.root) }

// target is something that a request changes.
type target struct {
	name   string
	member bool // it comes into its folder, or leaves it
	tree   bool // all that is in it changes, too
}

// active are the locks that have not expired; mu is held.
func (l *locks) active() iter.Seq[*lock] {
	now := l.now()
	maps.DeleteFunc(l.all, func(_ string, k *lock) bool { return !k.expires.After(now) })
	return maps.Values(l.all)
}

// refusal is a lock that keeps a request with these tokens from changing the targets, nil
// if there is none. Of shared locks one token is enough (7.5, 6.2).
func (l *locks) refusal(targets []target, submitted map[string]bool) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	active := l.active()
	for _, t := range targets {
		key := lockKey(t.name)
		folder := path.Dir(key)
		for k := range active {
			if submitted[k.token] {
				continue
			}
			// shares: one that is submitted is on the same thing. Only shared locks are.
			shares := func(thing string, deep bool) bool {
				for o := range active {
					if submitted[o.token] && o.covers(thing) && (o.deep || !deep) {
						return true
					}
				}
				return false
			}
			switch {
			case k.covers(key) && !shares(key, t.tree && k.deep),
				t.member && key != "." && k.covers(folder) && !shares(folder, false),
				t.tree && !k.covers(key) && within(k.root, key) && !shares(k.root, k.deep):
				return k
			}
		}
	}
	return nil
}

// held reports whether a lock of this token is on name.
func (l *locks) held(token, name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.all[token]
	return k != nil && k.expires.After(l.now()) && k.covers(lockKey(name))
}

// none reports whether there are no locks.
func (l *locks) none() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all) == 0
}

// on are the locks on name.
func (l *locks) on(name string) []lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	var on []lock
	key := lockKey(name)
	for k := range l.active() {
		if k.covers(key) {
			on = append(on, *k)
		}
	}
	return on
}

// add makes a lock; conflict is one that does not allow it (6.2).
func (l *locks) add(k lock) (made lock, conflict *lock, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sharing := 0
	for o := range l.active() {
		if (o.covers(k.root) || k.covers(o.root)) && !(o.shared && k.shared) {
			return lock{}, o, nil
		}
		if o.root == k.root {
			sharing++
		}
	}
	if len(l.all) >= locksMax || sharing >= sharedMax {
		return lock{}, nil, refuse(503, "there are too many locks; try again when some have expired")
	}
	k.token = newToken()
	k.expires = l.now().Add(k.timeout)
	l.all[k.token] = &k
	return k, nil, nil
}

// newToken is a random UUID (RFC 9562, version 4) as a URI.
func newToken() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// refresh gives a lock on name new time (9.10.2).
func (l *locks) refresh(token, name string, timeout time.Duration) (lock, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.all[token]
	if k == nil || !k.expires.After(l.now()) || !k.covers(lockKey(name)) {
		return lock{}, false
	}
	k.timeout, k.expires = timeout, l.now().Add(timeout)
	return *k, true
}

// remove ends a lock that is on name.
func (l *locks) remove(token, name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.all[token]
	if k == nil || !k.expires.After(l.now()) || !k.covers(lockKey(name)) {
		return false
	}
	delete(l.all, token)
	return true
}

// forget ends the locks of what is in name, and, unless only what is below it is gone, of
// name itself.
func (l *locks) forget(name string, below bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := lockKey(name)
	maps.DeleteFunc(l.all, func(_ string, k *lock) bool {
		return within(k.root, key) && !(below && k.root == key)
	})
}
