package webdav

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing/iotest"
	"time"
)

// The paths that requests are about: few, so that they meet. é is there in both forms.
const (
	nfc = "\u00e9"
	nfd = "e\u0301"
)

var modelPaths = []string{"", "a", "b", "x y%z", nfc, nfd, "d", "d/a", "d/" + nfc, "d/" + nfd, "d/x y%z", "d/e", "d/e/a", "e", "e/a", nfc + "/a", nfd + "/a"}

var modelMethods = []string{"PUT", "PUT", "GET", "HEAD", "DELETE", "MKCOL", "MKCOL", "COPY", "MOVE", "LOCK", "LOCK", "REFRESH", "UNLOCK", "PROPPATCH", "PROPFIND", "PASS"}

// modelRequest is a request in parts. Paths are in the form that the client uses.
type modelRequest struct {
	method      string
	path, dst   string
	depth       string // "": no such header
	overwrite   string
	body        string
	announced   int64         // X-Expected-Entity-Length; below 0: none
	part        bool          // Content-Range
	chunked     bool          // the body has no Content-Length
	breaks      bool          // the body breaks off
	mtime       int64         // X-OC-Mtime; 0: none
	slash       bool          // after the path
	absolute    bool          // URIs in headers have a host
	shared      bool          // of a LOCK
	timeout     time.Duration // asked for, or to pass; 0: none
	token       string        // of an UNLOCK
	change      []propertyChange
	ifs         []ifList
	match, none []string // ETags, or "*"
	since       string   // If-Unmodified-Since
}

type ifList struct {
	tagged bool
	path   string
	all    []ifCondition
}

type ifCondition struct {
	not         bool
	token, etag string
}

// propertyChange is one of a PROPPATCH; one of DAV: is refused.
type propertyChange struct {
	name, value string
	remove, dav bool
}

// requestSize is how many bytes a request is made of: method, path, destination or variant, flags,
// kind of the If header, token, path of its tag, kind of the other conditions, and ETag.
const requestSize = 9

func pick[T any](from []T, b byte) T { return from[int(b)%len(from)] }

// request makes a request that fits what is there: most tokens and ETags are some that are, or were.
func (m *model) request(b []byte) *modelRequest {
	variant, flags := b[2], b[3]
	q := &modelRequest{method: pick(modelMethods, b[0]), path: pick(modelPaths, b[1]), announced: -1,
		slash: flags&128 != 0, absolute: flags&192 == 192, shared: flags&32 != 0}
	q.depth = pick([]string{"", "0", "infinity", "1", "", "0", "infinity", ""}, flags&7)
	q.overwrite = pick([]string{"", "T", "F", ""}, flags>>3&3)
	switch q.method {
	case "PUT":
		q.body = pick([]string{"%03d", "%03d", "", "%05d"}, variant)
		if q.body != "" {
			q.body = fmt.Sprintf(q.body, m.step)
		}
		if flags&64 != 0 {
			q.announced = int64(len(q.body)) + int64(variant>>4&1)
			q.part = variant>>3&3 == 3
		}
		q.chunked, q.breaks = variant>>2&1 != 0, variant>>5 == 6
		if variant>>5 == 7 {
			q.mtime = m.ownTime()
		}
	case "MKCOL":
		if variant%16 == 15 {
			q.body = "x"
		}
	case "COPY", "MOVE":
		q.dst = pick(modelPaths, variant)
	case "LOCK", "REFRESH":
		q.timeout = pick([]time.Duration{0, time.Second, time.Minute, 600 * time.Second, 7200 * time.Second}, variant)
	case "PASS":
		q.timeout = pick([]time.Duration{time.Second, 59 * time.Second, 600 * time.Second, time.Hour}, variant)
	case "UNLOCK":
		q.token = m.tokenOf(b[5])
	case "PROPPATCH":
		one := propertyChange{name: pick([]string{"one", "two"}, variant), value: fmt.Sprint(m.step)}
		q.change = append(q.change, one)
		switch variant >> 1 % 6 {
		case 0:
			q.change[0].remove = true
		case 1:
			q.change = append(q.change, propertyChange{name: "one", value: "<&", dav: false})
		case 2:
			q.change = append(q.change, propertyChange{name: "displayname", value: "x", dav: true})
		case 3:
			q.change = append(q.change, propertyChange{name: one.name, remove: true}, propertyChange{name: "two", value: "last"})
		case 4:
			date := propertyChange{name: "getlastmodified", value: time.Unix(m.ownTime(), 0).UTC().Format(http.TimeFormat), dav: true}
			if q.change = append(q.change, date); variant&1 != 0 {
				q.change = q.change[1:]
			}
		}
	}
	if q.method != "PASS" {
		m.conditions(q, b)
	}
	return q
}

func (q *modelRequest) String() string {
	s := fmt.Sprintf("%s /%s", q.method, q.path)
	if q.method == "COPY" || q.method == "MOVE" {
		s += " to /" + q.dst
	}
	if q.breaks {
		s += ", which breaks off,"
	}
	return fmt.Sprintf("%s %v", s, q.header())
}

// uri is a path as a client writes it.
func (q *modelRequest) uri(path string, slash bool) string {
	var b strings.Builder
	if q.absolute {
		b.WriteString("http://localhost")
	}
	for e := range strings.SplitSeq(path, "/") {
		b.WriteString("/" + url.PathEscape(e))
	}
	if slash && path != "" {
		b.WriteByte('/')
	}
	return b.String()
}

func (q *modelRequest) header() http.Header {
	h := http.Header{}
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	set("Depth", q.depth)
	if q.method == "COPY" || q.method == "MOVE" {
		set("Overwrite", q.overwrite)
		set("Destination", q.uri(q.dst, q.slash))
	}
	if q.mtime != 0 {
		set("X-OC-Mtime", fmt.Sprint(q.mtime))
	}
	if q.announced >= 0 {
		set("X-Expected-Entity-Length", fmt.Sprint(q.announced))
	}
	if q.part {
		set("Content-Range", "bytes 0-2/9")
	}
	if q.timeout > 0 {
		set("Timeout", fmt.Sprintf("Second-%d", q.timeout/time.Second))
	}
	if q.token != "" {
		set("Lock-Token", "<"+q.token+">")
	}
	var lists []string
	for i, l := range q.ifs {
		s := ""
		if l.tagged && (i == 0 || q.ifs[i-1].path != l.path) {
			s = "<" + q.uri(l.path, false) + "> "
		}
		var parts []string
		for _, c := range l.all {
			p := ""
			if c.not {
				p = "Not "
			}
			if c.token != "" {
				parts = append(parts, p+"<"+c.token+">")
			} else {
				parts = append(parts, p+"["+c.etag+"]")
			}
		}
		lists = append(lists, s+"("+strings.Join(parts, " ")+")")
	}
	set("If", strings.Join(lists, " "))
	set("If-Match", strings.Join(q.match, ", "))
	set("If-None-Match", strings.Join(q.none, ", "))
	set("If-Unmodified-Since", q.since)
	return h
}

// http is the request itself.
func (q *modelRequest) http() *http.Request {
	method, body := q.method, q.body
	switch q.method {
	case "REFRESH":
		method = "LOCK"
	case "LOCK":
		body = lockInfo("exclusive")
		if q.shared {
			body = lockInfo("shared")
		}
	case "PROPPATCH":
		var b strings.Builder
		for _, c := range q.change {
			prefix, what := "p:", "set"
			if c.dav {
				prefix = "D:"
			}
			if c.remove {
				what, c.value = "remove", ""
			}
			value := strings.NewReplacer("&", "&amp;", "<", "&lt;").Replace(c.value)
			fmt.Fprintf(&b, "<D:%s><D:prop><%s%s>%s</%[2]s%[3]s></D:prop></D:%[1]s>", what, prefix, c.name, value)
		}
		body = propertyUpdateOf(b.String())
	}
	var r io.Reader
	if body != "" || q.method == "PUT" {
		r = strings.NewReader(body)
	}
	if q.breaks {
		r = io.MultiReader(r, iotest.ErrReader(io.ErrUnexpectedEOF))
	}
	plain := *q
	plain.absolute = false
	req := httptest.NewRequest(method, plain.uri(q.path, q.slash), r)
	req.Host = "localhost"
	if q.chunked || q.breaks {
		req.ContentLength = -1
	}
	req.Header = q.header()
	req.SetBasicAuth(testUser, testPassword)
	return req
}

// ownTime is a modification time that a client asks for, never twice the same.
func (m *model) ownTime() int64 { return 1_000_000_000 + int64(m.step) }

// refusedProperty reports whether a PROPPATCH asks for what is the server's own.
func (q *modelRequest) refusedProperty() bool {
	return slices.ContainsFunc(q.change, func(c propertyChange) bool { return c.dav && c.name != "getlastmodified" })
}

// keepsNothing reports whether a PROPPATCH needs no place for dead properties.
func (q *modelRequest) keepsNothing() bool {
	return !slices.ContainsFunc(q.change, func(c propertyChange) bool { return !c.dav && !c.remove })
}
