package webdav

import (
	"net/http"
	"slices"
	"time"
)

// verdict is what may come of a request. Which of several reasons against it a server names is
// open (RFC 9110 13.2.1 and RFC 4918 8.5 order a few), but not whether it does what was asked.
type verdict struct {
	must []int // reasons for which it must be refused
	may  []int // for which it may
	ok   []int // what it may be if it is done
	// done is what it then does; the answer tells what only the server can know.
	done func(h http.Header, body string)
}

// allows reports whether a status is right, and whether with it the request is done.
func (v *verdict) allows(status int) (right, done bool) {
	if slices.Contains(v.must, status) || slices.Contains(v.may, status) {
		return true, false
	}
	return len(v.must) == 0 && slices.Contains(v.ok, status), true
}

func (v *verdict) refuse(reason bool, status ...int) {
	if reason {
		v.must = append(v.must, status...)
	}
}

func (m *model) judge(q *modelRequest) *verdict {
	n := m.find(q.path)
	v := &verdict{done: func(http.Header, string) {}}
	switch q.method {
	case "GET", "HEAD":
		m.judgeGet(q, n, v)
		return v
	case "PROPFIND":
		v.refuse(n == nil, 404)
		v.refuse(q.depth == "" || q.depth == "infinity", 403) // RFC 4918 9.1.1
		v.ok = []int{207}
		if !m.ifHolds(q) {
			v.may = append(v.may, 412)
		}
		return v
	}
	v.refuse(!m.ifHolds(q), 412)
	failed := q.match != nil && !n.among(q.match, false) || q.none != nil && n.among(q.none, true) ||
		q.match == nil && q.since != "" && n != nil && n.modifiedSince(q.since)
	if q.method == "REFRESH" || q.method == "UNLOCK" { // they change no representation (13.2.1)
		if failed {
			v.may = append(v.may, 412)
		}
	} else {
		v.refuse(failed, 412)
	}
	if q.match == nil && q.since != "" && n == nil {
		v.may = append(v.may, 412) // by 13.1.4 it is ignored, but who sends it expects something
	}
	switch q.method {
	case "PUT":
		m.judgePut(q, n, v)
	case "DELETE":
		v.refuse(q.path == "", 403)
		v.refuse(n == nil, 404)
		v.refuse(n != nil && n.dir && (q.depth == "0" || q.depth == "1"), 400) // 9.6.1
		m.heed(q, v, n != nil, append(m.within(q.path), above(q.path)))
		v.ok = []int{204}
		v.done = func(http.Header, string) {
			m.take(q.path)
			m.unlock(q.path, true)
		}
	case "MKCOL":
		v.refuse(q.body != "", 415)
		v.refuse(q.path == "", 403, 405)
		v.refuse(n != nil, 405)
		v.refuse(m.folder(q.path) == nil, 409)
		m.heed(q, v, false, []string{q.path, above(q.path)})
		v.ok = []int{201}
		v.done = func(http.Header, string) { m.put(q.path, &node{dir: true, kids: map[string]*node{}}) }
	case "COPY", "MOVE":
		m.judgeCopyMove(q, n, v)
	case "LOCK", "REFRESH", "UNLOCK":
		m.judgeLock(q, n, v)
	case "PROPPATCH":
		v.refuse(n == nil, 404)
		m.heed(q, v, false, []string{q.path})
		v.ok = []int{207}
		v.done = func(http.Header, string) { m.patch(n, q) }
	}
	return v
}

func above(path string) string {
	f, _ := split(path)
	return f
}

// heed refuses what locks forbid: what is at the paths would change. tree: with all that could be
// in it, so that the lock of a folder with all in it may count, though it is empty.
func (m *model) heed(q *modelRequest, v *verdict, tree bool, paths []string) {
	submitted := q.submitted()
	if tree && m.mixed(paths) { // the server does not know of a file that nothing can be in it
		v.may = append(v.may, 423)
	}
	v.refuse(m.lockedOut(paths, submitted), 423)
	if !tree {
		return
	}
	for _, p := range paths {
		if n := m.find(p); n != nil && n.dir && m.lockedOut([]string{p + "/\x00"}, submitted) {
			v.may = append(v.may, 423)
		}
	}
}

func (m *model) judgeGet(q *modelRequest, n *node, v *verdict) {
	v.refuse(n == nil, 404)
	v.ok = []int{200}
	if !m.ifHolds(q) {
		v.may = append(v.may, 412)
	}
	if n == nil {
		return
	}
	if n.dir {
		v.may = append(v.may, 304, 412)
		return
	}
	// RFC 9110 13.2.2
	switch {
	case q.match != nil && !n.among(q.match, false), q.match == nil && q.since != "" && n.modifiedSince(q.since):
		v.refuse(true, 412)
	case q.none != nil && n.among(q.none, true):
		v.refuse(true, 304)
	}
}

func (m *model) judgePut(q *modelRequest, n *node, v *verdict) {
	v.refuse(q.part || q.breaks, 400)
	v.refuse(q.announced >= 0 && q.announced != int64(len(q.body)), 400)
	v.refuse(q.path == "", 403, 405)
	v.refuse(n != nil && n.dir, 405)
	v.refuse(m.folder(q.path) == nil, 409)
	affected := []string{q.path}
	v.ok = []int{204}
	if n == nil {
		affected = append(affected, above(q.path))
		v.ok = []int{201}
	}
	m.heed(q, v, false, affected)
	v.done = func(h http.Header, _ string) {
		if n == nil {
			n = &node{}
			m.put(q.path, n)
		}
		n.data, n.etag, n.modified = q.body, h.Get("ETag"), ""
		if q.mtime != 0 {
			n.modified = time.Unix(q.mtime, 0).UTC().Format(http.TimeFormat)
		}
	}
}

func (m *model) judgeCopyMove(q *modelRequest, n *node, v *verdict) {
	from, to := canonical(q.path), canonical(q.dst)
	there := m.find(q.dst)
	v.refuse(from == "" || to == "", 403)
	v.refuse(from == to || below(from, to) || below(to, from), 403, 409) // 9.8.5, 9.9.4
	v.refuse(n == nil, 404)
	v.refuse(m.folder(q.dst) == nil, 409)
	v.refuse(there != nil && q.overwrite == "F", 412)
	if q.depth == "1" || q.depth == "0" && q.method == "MOVE" { // 9.8.3, 9.9.2; of a file any would do
		if n != nil && n.dir {
			v.refuse(true, 400)
		} else {
			v.may = append(v.may, 400)
		}
	}
	affected := append(m.within(q.dst), q.dst)
	v.ok = []int{204}
	if there == nil {
		affected = append(affected, above(q.dst))
		v.ok = []int{201}
	}
	if q.method == "MOVE" {
		affected = append(append(affected, m.within(q.path)...), above(q.path))
	}
	m.heed(q, v, true, affected)
	same := there != nil && n != nil && !there.dir && there.etag == n.etag
	v.done = func(http.Header, string) {
		var it *node
		if q.method == "MOVE" {
			it = m.take(q.path)
			it.moved()
			m.unlock(q.path, true) // 7.6: a lock does not move
		} else {
			it = n.copied(q.depth != "0")
		}
		if same {
			it.modified = "" // it gets another time, so as not to pass for what it replaces
		}
		m.put(q.dst, it)
		m.unlock(q.dst, false) // what was in it is gone; its own lock is now on what is there
	}
}

// patch does what a PROPPATCH says, all or nothing (RFC 4918 9.2).
func (m *model) patch(n *node, q *modelRequest) {
	if q.refusedProperty() || !m.keeps && !q.keepsNothing() {
		return
	}
	if n.props == nil {
		n.props = map[string]string{}
	}
	for _, c := range q.change {
		switch {
		case c.name == "getlastmodified":
			n.modified, n.etag = c.value, ""
		case c.remove:
			delete(n.props, c.name)
		default:
			n.props[c.name] = c.value
		}
	}
}
