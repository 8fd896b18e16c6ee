package webdav

import (
	"errors"
	"io/fs"
	"net/http"
	"strings"
)

// preconditions says whether a request may change the targets: its own conditions hold (RFC 9110
// 13.2.2 for name, and RFC 4918 10.4), and it has the tokens of the locks on them. It is asked
// before a body is read, and again when nothing else can come in between (see changing).
func (s *Server) preconditions(r *http.Request, name string, targets ...target) error {
	submitted, err := s.ifHeader(r, name)
	if err != nil {
		return err
	}
	if err := s.matches(r, name); err != nil {
		return err
	}
	if k := s.locks.refusal(targets, submitted); k != nil {
		return &lockedError{k.href, k.dir, "lock-token-submitted"}
	}
	return nil
}

// lockedError is 423, with the element that says why and what is locked (RFC 4918 16).
type lockedError struct {
	name    string
	dir     bool
	element string
}

func (e *lockedError) Error() string { return "it is locked: " + e.element }

// errPrecondition: a condition of the request does not hold.
var errPrecondition = refuse(http.StatusPreconditionFailed, "it is not as the request expects it")

// ifHeader evaluates the If header, and returns the tokens in it.
func (s *Server) ifHeader(r *http.Request, name string) (submitted map[string]bool, err error) {
	h := r.Header.Values("If")
	if len(h) == 0 {
		return nil, nil
	}
	lists, err := parseIf(strings.Join(h, " "))
	if err != nil {
		return nil, err
	}
	submitted = map[string]bool{}
	holds := false
	for _, l := range lists {
		for _, c := range l.all {
			if c.token != "" && !c.not {
				submitted[c.token] = true
			}
		}
		if holds {
			continue
		}
		of := name
		if l.resource != "" {
			// Of what is not here nothing holds (10.4.4).
			if of, err = nameOfURI(r, l.resource); err != nil {
				continue
			}
			if of, err = s.thing(r.Context(), of); err != nil {
				return nil, err
			}
		}
		if holds, err = s.stateHolds(r, of, l.all); err != nil {
			return nil, err
		}
	}
	if !holds {
		return nil, errPrecondition
	}
	return submitted, nil
}

func (s *Server) stateHolds(r *http.Request, name string, all []stateCondition) (bool, error) {
	tag, known := "", false
	for _, c := range all {
		var is bool
		if c.token != "" {
			// A lock is on what a link leads to.
			is = s.locks.held(c.token, name) || s.locks.held(c.token, s.writes.Canonical(r.Context(), name, true))
		} else {
			if !known {
				fi, err := s.fs.Stat(r.Context(), name)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return false, err
				}
				if known = true; err == nil && !fi.IsDir() {
					tag = etag(fi)
				}
			}
			is = tag != "" && c.etag == tag // ours are strong
		}
		if is == c.not {
			return false, nil
		}
	}
	return true, nil
}

// matches evaluates If-Match, If-Unmodified-Since and If-None-Match, for methods that change
// something (RFC 9110 13.2.2).
func (s *Server) matches(r *http.Request, name string) error {
	match, none, since := r.Header.Values("If-Match"), r.Header.Values("If-None-Match"), r.Header.Get("If-Unmodified-Since")
	if match == nil && none == nil && since == "" {
		return nil
	}
	fi, err := s.fs.Stat(r.Context(), name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there, tag := err == nil, ""
	if there && !fi.IsDir() {
		tag = etag(fi)
	}
	if match != nil {
		if is, err := amongETags(match, there, tag, false); err != nil {
			return err
		} else if !is {
			return errPrecondition
		}
	} else if t, err := http.ParseTime(since); err == nil && (!there || fi.ModTime().Unix() > t.Unix()) { // without a date it is to be ignored
		return errPrecondition
	}
	if none != nil {
		if is, err := amongETags(none, there, tag, true); err != nil {
			return err
		} else if is {
			return errPrecondition
		}
	}
	return nil
}

// amongETags reports whether what is there, with its ETag, if it has one, is among those of an
// If-Match or If-None-Match header; weak: by the weak comparison (RFC 9110 8.8.3.2).
func amongETags(header []string, there bool, tag string, weak bool) (bool, error) {
	rest := strings.TrimSpace(strings.Join(header, ","))
	if rest == "*" {
		return there, nil
	}
	found := false
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			return found, nil
		}
		one, after, ok := parseETag(rest)
		if !ok {
			return false, refuse(http.StatusBadRequest, "an ETag in a condition is not as RFC 9110 has it")
		}
		if weak {
			one = strings.TrimPrefix(one, "W/")
		}
		found = found || tag != "" && one == tag
		rest = after
	}
}
