package webdav

import (
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

// lock answers LOCK (RFC 4918 9.10): it makes a lock, and an empty file where there is none
// (7.3), or gives one that is there new time (9.10.2).
func (s *Server) lock(w http.ResponseWriter, r *http.Request, asked, name string) {
	body, err := io.ReadAll(r.Body) // limitXML has seen it
	if err != nil {
		fail(w, r, err)
		return
	}
	timeout := lockTimeout(r)
	if len(body) == 0 {
		s.refresh(w, r, name, timeout)
		return
	}
	k := lock{root: lockKey(name), href: asked, timeout: timeout}
	if k.shared, k.owner, err = readLockInfo(body); err != nil {
		fail(w, r, err)
		return
	}
	switch r.Header.Get("Depth") {
	case "", "infinity":
		k.deep = true
	case "0":
	default:
		fail(w, r, refuse(http.StatusBadRequest, "depth must be 0 or infinity"))
		return
	}
	defer s.changingTree()()
	if err := unmoved(r, s.thing, name); err != nil {
		fail(w, r, err)
		return
	}
	fi, err := s.fs.Stat(r.Context(), name)
	created := errors.Is(err, fs.ErrNotExist)
	if err != nil && !created {
		fail(w, r, err)
		return
	}
	var targets []target // a lock by itself changes nothing
	if created {
		targets = append(targets, target{name: name, member: true})
	} else {
		k.dir = fi.IsDir()
	}
	if err := s.preconditions(r, name, targets...); err != nil {
		fail(w, r, err)
		return
	}
	if created {
		if err := s.folderOf(r, name); err != nil {
			fail(w, r, err)
			return
		}
	}
	made, conflict, err := s.locks.add(k)
	if conflict != nil {
		err = &lockedError{conflict.href, conflict.dir, "no-conflicting-lock"}
	}
	if err == nil && created {
		if err = s.writes.Create(r.Context(), name); err != nil {
			s.locks.remove(made.token, name)
		}
		if errors.Is(err, fs.ErrExist) {
			err = refuse(http.StatusConflict, "the file came into being meanwhile; try again")
		}
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	w.Header().Set("Lock-Token", "<"+made.token+">")
	writeLock(w, status, made)
}

// folderOf is an error unless the folder in which name is, or is to be, is there: 409, as
// RFC 4918 has it for all methods that make something.
func (s *Server) folderOf(r *http.Request, name string) error {
	fi, err := s.fs.Stat(r.Context(), path.Dir(name))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.IsDir() {
		return refuse(http.StatusConflict, "the folder does not exist")
	}
	return err
}

func (s *Server) refresh(w http.ResponseWriter, r *http.Request, name string, timeout time.Duration) {
	submitted, err := s.ifHeader(r, name)
	if err == nil && len(submitted) == 0 {
		err = refuse(http.StatusBadRequest, "which lock? it belongs into an If header, or what to lock into the body")
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	for token := range submitted {
		if k, ok := s.locks.refresh(token, name, timeout); ok {
			writeLock(w, http.StatusOK, k)
			return
		}
	}
	fail(w, r, errPrecondition)
}

// lockTimeout is the first of the Timeout header that we understand (RFC 4918 10.7), within
// bounds.
func lockTimeout(r *http.Request) time.Duration {
	for _, v := range strings.Split(r.Header.Get("Timeout"), ",") {
		v = strings.TrimSpace(v)
		if v == "Infinite" {
			return lockTimeoutMax
		}
		if n, ok := strings.CutPrefix(v, "Second-"); ok {
			// One that does not fit is a long time.
			if sec, err := strconv.ParseUint(n, 10, 32); err == nil && sec > 0 {
				return min(time.Duration(sec)*time.Second, lockTimeoutMax)
			} else if errors.Is(err, strconv.ErrRange) {
				return lockTimeoutMax
			}
		}
	}
	return lockTimeoutDefault
}

var errLockInfo = refuse(http.StatusBadRequest, "the body is not a lockinfo element as RFC 4918 has it")

// readLockInfo parses a lockinfo element (RFC 4918 14.11).
func readLockInfo(body []byte) (shared bool, owner []byte, err error) {
	var l struct {
		XMLName   xml.Name  `xml:"DAV: lockinfo"`
		Exclusive *struct{} `xml:"DAV: lockscope>exclusive"`
		Shared    *struct{} `xml:"DAV: lockscope>shared"`
		Write     *struct{} `xml:"DAV: locktype>write"`
		Owner     *xmlText  `xml:"DAV: owner"`
	}
	dec := strictXML(body)
	if err := dec.Decode(&l); err != nil || l.Write == nil || (l.Exclusive == nil) == (l.Shared == nil) {
		return false, nil, errLockInfo
	}
	if l.Owner != nil {
		owner = *l.Owner
	}
	if len(owner) > ownerMax {
		return false, nil, refuse(http.StatusBadRequest, "the owner of a lock must be shorter")
	}
	return l.Shared != nil, owner, nil
}

// writeLock writes the answer to LOCK (RFC 4918 9.10.1).
func writeLock(w http.ResponseWriter, status int, k lock) {
	b := append([]byte(`<D:prop xmlns:D="DAV:"><D:lockdiscovery>`), k.active(time.Time{})...)
	writeXML(w, status, string(append(b, "</D:lockdiscovery></D:prop>"...)))
}

// active is an activelock element (RFC 4918 14.1). now: when it is looked at; zero: when it
// was made.
func (k *lock) active(now time.Time) []byte {
	scope, depth, left := "exclusive", "0", k.timeout
	if k.shared {
		scope = "shared"
	}
	if k.deep {
		depth = "infinity"
	}
	if !now.IsZero() {
		left = max(k.expires.Sub(now), 0)
	}
	b := append([]byte("<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:"), scope...)
	b = append(b, "/></D:lockscope><D:depth>"...)
	b = append(b, depth...)
	b = append(b, "</D:depth>"...)
	b = append(b, k.owner...)
	b = append(b, "<D:timeout>Second-"...)
	b = strconv.AppendInt(b, int64(left/time.Second), 10)
	b = append(b, "</D:timeout><D:locktoken><D:href>"...)
	b = append(b, k.token...)
	b = append(b, "</D:href></D:locktoken><D:lockroot><D:href>"...)
	b = appendHref(b, k.href, k.dir)
	return append(b, "</D:href></D:lockroot></D:activelock>"...)
}
