package webdav

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

const noSuchToken = "urn:uuid:00000000-0000-4000-8000-000000000000"

// tokenOf is one of all tokens that there were, or one that never was.
func (m *model) tokenOf(b byte) string {
	if b%8 == 7 || len(m.tokens) == 0 {
		return noSuchToken
	}
	return m.tokens[len(m.tokens)-1-int(b/8)%len(m.tokens)]
}

// etagOf is the ETag of some path or of another: that which is there, one that was, or none.
func (m *model) etagOf(b byte, path string) string {
	if b&32 != 0 {
		path = pick(modelPaths, b>>3)
	}
	n := m.find(path)
	switch {
	case b%4 == 3 || n == nil || n.dir:
		return `"x"`
	case b%4 == 1:
		return "W/" + n.etag
	case b%4 == 2:
		for old := range m.seen[canonical(path)] {
			if old != n.etag {
				return old
			}
		}
	}
	return n.etag
}

// conditions are those that the bytes say; most requests have none, or pass.
func (m *model) conditions(q *modelRequest, b []byte) {
	token, etag := m.tokenOf(b[5]), m.etagOf(b[8], q.path)
	tag := pick(modelPaths, b[6])
	has := func(token string) ifCondition { return ifCondition{token: token} }
	never := ifCondition{token: "DAV:no-lock"}
	always := ifCondition{token: "DAV:no-lock", not: true}
	add := func(all ...ifCondition) { q.ifs = append(q.ifs, ifList{all: all}) }
	switch b[4] % 32 {
	case 1, 2, 3: // all that there are, and whatever they are on
		for _, l := range m.locks {
			add(has(l.token))
		}
		add(always)
	case 4:
		add(has(token))
	case 5:
		add(has(token), always)
		add(always)
	case 6:
		q.ifs = append(q.ifs, ifList{true, tag, []ifCondition{has(token)}})
	case 7:
		add(ifCondition{not: true, token: token})
	case 8:
		add(has(token), ifCondition{etag: etag})
	case 9:
		add(ifCondition{etag: etag})
	case 10:
		add(ifCondition{not: true, etag: etag})
	case 11:
		q.ifs = append(q.ifs, ifList{true, tag, []ifCondition{{etag: m.etagOf(b[8], tag)}, {not: b[5]&1 != 0, token: token}}})
	case 12:
		add(never)
		add(has(token))
		add(ifCondition{etag: etag})
	case 13:
		q.ifs = append(q.ifs, ifList{true, tag, []ifCondition{has(token), never}}, ifList{true, tag, []ifCondition{always}},
			ifList{true, q.path, []ifCondition{{etag: etag}}})
	case 14, 15, 16:
		if len(m.locks) > 0 { // one where it is
			l := m.locks[int(b[5])%len(m.locks)]
			q.ifs = append(q.ifs, ifList{true, l.root, []ifCondition{has(l.token)}})
		}
	}
	if q.method == "REFRESH" && len(q.ifs) == 0 && b[5]%16 != 0 {
		add(has(token))
	}
	switch b[7] % 32 {
	case 1:
		q.match = []string{etag}
	case 2:
		q.match = []string{`"x"`, etag}
	case 3:
		q.match = []string{"*"}
	case 4:
		q.none = []string{etag}
	case 5:
		q.none = []string{"*"}
	case 6:
		q.match, q.none = []string{etag}, []string{`"y"`, etag}
	case 7, 8:
		q.since = "yesterday"
		if n := m.find(q.path); n == nil {
			q.since = "Mon, 12 Jan 1998 09:25:56 GMT"
		} else if at, err := http.ParseTime(n.date); err == nil && b[8]%4 != 3 {
			q.since = at.Add(time.Duration(b[8]%3) * time.Hour).Add(-time.Hour).Format(http.TimeFormat)
		}
		if b[7]%32 == 8 { // of which nothing is heeded beside it (RFC 9110 13.1.4)
			q.match = []string{etag}
		}
	}
}

// submitted are the tokens that a request has: those that are expected to be there.
func (q *modelRequest) submitted() map[string]bool {
	all := map[string]bool{}
	for _, l := range q.ifs {
		for _, c := range l.all {
			if c.token != "" && !c.not {
				all[c.token] = true
			}
		}
	}
	return all
}

// ifHolds evaluates the If header (RFC 4918 10.4.3): any of the lists, of which all.
func (m *model) ifHolds(q *modelRequest) bool {
	return len(q.ifs) == 0 || slices.ContainsFunc(q.ifs, func(l ifList) bool {
		path := q.path
		if l.tagged {
			path = l.path
		}
		n := m.find(path)
		return !slices.ContainsFunc(l.all, func(c ifCondition) bool {
			is := c.token != "" && m.covers(c.token, path)
			if c.etag != "" {
				is = n != nil && !n.dir && n.etag == c.etag // strong: RFC 4918 10.4.4
			}
			return is == c.not
		})
	})
}

// among reports whether what is there is meant by a list of ETags (RFC 9110 13.1.1, 13.1.2).
func (n *node) among(tags []string, weak bool) bool {
	return slices.ContainsFunc(tags, func(tag string) bool {
		if weak {
			tag = strings.TrimPrefix(tag, "W/")
		}
		return n != nil && (tag == "*" || !n.dir && tag == n.etag)
	})
}

// modifiedSince reports whether n is newer than an If-Unmodified-Since, which is ignored if it is no date.
func (n *node) modifiedSince(date string) bool {
	t, err := http.ParseTime(date)
	at, aerr := http.ParseTime(n.date)
	return err == nil && aerr == nil && at.After(t)
}
