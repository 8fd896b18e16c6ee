package webdav

import (
	"net/http"
	"regexp"
	"slices"
	"time"
)

// The bounds that the server sets.
const (
	modelTimeout    = 600 * time.Second // asked for none
	modelTimeoutMax = time.Hour

	modelSharedMax = 16 // shared locks on one resource
)

func (q *modelRequest) lockTime() time.Duration {
	if q.timeout == 0 {
		return modelTimeout
	}
	return min(q.timeout, modelTimeoutMax)
}

var tokenInBody = regexp.MustCompile(`<D:locktoken><D:href>([^<]*)</D:href>`)

func (m *model) judgeLock(q *modelRequest, n *node, v *verdict) {
	path := canonical(q.path)
	switch q.method {
	case "LOCK":
		v.refuse(q.depth == "1", 400) // 9.10.3
		v.ok = []int{200}
		if n == nil { // 7.3
			v.refuse(m.folder(q.path) == nil, 409)
			m.heed(q, v, false, []string{q.path, above(q.path)})
			v.ok = []int{201}
		}
		deep, sharing := q.depth != "0", 0
		for _, l := range m.locks { // 6.2, 9.10.5
			if l.root == path {
				sharing++
			}
			meet := l.root == path || l.deep && below(path, l.root) || deep && below(l.root, path)
			v.refuse(meet && !(l.shared && q.shared), 423)
		}
		v.refuse(sharing >= modelSharedMax, 503)
		v.done = func(h http.Header, body string) {
			if n == nil {
				m.put(q.path, &node{})
			}
			token := ""
			if found := tokenInBody.FindStringSubmatch(body); found != nil && h.Get("Lock-Token") == "<"+found[1]+">" {
				token = found[1]
			}
			m.tokens = append(m.tokens, token)
			m.locks = append(m.locks, &modelLock{token: token, root: path, deep: deep, shared: q.shared, expires: m.now.Add(q.lockTime())})
		}
	case "REFRESH": // 9.10.2
		submitted := q.submitted()
		v.refuse(len(submitted) == 0, 400, 412)
		can := func(l *modelLock) bool { return submitted[l.token] }
		v.refuse(!slices.ContainsFunc(m.on(path), can), 412)
		if n == nil { // the lock may be on the folder of what is not there
			v.may = append(v.may, 404)
		}
		v.ok = []int{200}
		v.done = func(_ http.Header, body string) {
			found := tokenInBody.FindStringSubmatch(body)
			for _, l := range m.on(path) { // of several, one
				if can(l) && found != nil && found[1] == l.token {
					l.expires = m.now.Add(q.lockTime())
				}
			}
		}
	case "UNLOCK": // 9.11.1
		v.refuse(!m.covers(q.token, q.path), 409)
		v.ok = []int{204}
		v.done = func(http.Header, string) {
			m.locks = slices.DeleteFunc(m.locks, func(l *modelLock) bool { return l.token == q.token })
		}
	}
}
