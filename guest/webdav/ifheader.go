package webdav

import (
	"net/http"
	"strings"
)

// conditionsMax bounds the conditions of a request: each may cost a look at the file system.
const conditionsMax = 256

// stateList is a list of an If header (RFC 4918 10.4.2): conditions of one resource, of which
// all must hold.
type stateList struct {
	resource string // a URI; "": that of the request
	all      []stateCondition
}

// stateCondition is a lock's token or an ETag.
type stateCondition struct {
	not   bool
	token string // "" if it is an ETag
	etag  string
}

var errIfHeader = refuse(http.StatusBadRequest, "the If header is not as RFC 4918 has it")

// parseIf parses an If header (RFC 4918 10.4.2). Its lists are either all tagged with a
// resource or none is.
func parseIf(s string) ([]stateList, error) {
	var lists []stateList
	n, tag, tagged := 0, "", false
	rest := strings.TrimLeft(s, " \t")
	for rest != "" {
		switch {
		case rest[0] == '<' && (tagged || len(lists) == 0):
			uri, after, ok := strings.Cut(rest[1:], ">")
			after = strings.TrimLeft(after, " \t")
			if !ok || uri == "" || after == "" || after[0] != '(' { // a tag has a list
				return nil, errIfHeader
			}
			tag, tagged, rest = uri, true, after
		case rest[0] == '(':
			l := stateList{resource: tag}
			rest = strings.TrimLeft(rest[1:], " \t")
			for rest != "" && rest[0] != ')' {
				c, after, ok := parseStateCondition(rest)
				if n++; !ok || n > conditionsMax {
					return nil, errIfHeader
				}
				l.all, rest = append(l.all, c), after
			}
			if rest == "" || len(l.all) == 0 {
				return nil, errIfHeader
			}
			lists, rest = append(lists, l), strings.TrimLeft(rest[1:], " \t")
		default:
			return nil, errIfHeader
		}
	}
	if len(lists) == 0 {
		return nil, errIfHeader
	}
	return lists, nil
}

func parseStateCondition(s string) (c stateCondition, rest string, ok bool) {
	if len(s) > 3 && strings.EqualFold(s[:3], "not") {
		c.not = true
		s = strings.TrimLeft(s[3:], " \t")
	}
	switch {
	case strings.HasPrefix(s, "<"):
		c.token, rest, ok = strings.Cut(s[1:], ">")
		ok = ok && c.token != "" && !strings.ContainsAny(c.token, " \t<")
	case strings.HasPrefix(s, "["):
		c.etag, rest, ok = parseETag(s[1:])
		if ok {
			rest, ok = strings.CutPrefix(strings.TrimLeft(rest, " \t"), "]")
		}
	}
	return c, strings.TrimLeft(rest, " \t"), ok
}

// parseETag cuts an entity tag (RFC 9110 8.8.3) off.
func parseETag(s string) (tag, rest string, ok bool) {
	start := strings.TrimPrefix(s, "W/")
	if !strings.HasPrefix(start, `"`) {
		return "", "", false
	}
	end := strings.IndexByte(start[1:], '"')
	if end < 0 {
		return "", "", false
	}
	n := len(s) - len(start) + end + 2
	return s[:n], s[n:], true
}
