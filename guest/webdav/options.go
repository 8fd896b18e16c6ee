package webdav

import (
	"io/fs"
	"net/http"
)

// options answers OPTIONS (RFC 4918 10.1). macOS mounts read-write if, and
// only if, class 2 is among the classes.
func (s *Server) options(w http.ResponseWriter, r *http.Request, name string) {
	fi, err := s.fs.Stat(r.Context(), name)
	if err != nil && statusOf(err) != http.StatusNotFound {
		fail(w, r, err)
		return
	}
	if err != nil {
		fi = nil
	}
	h := w.Header()
	h.Set("Allow", s.allow(fi))
	h.Set("DAV", "1, 2")
	if s.opt.ReadOnly {
		h.Set("DAV", "1")
	}
	h.Set("MS-Author-Via", "DAV")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// allow lists the methods for what fi describes; nil is something that is not there.
func (s *Server) allow(fi fs.FileInfo) string {
	switch {
	case s.opt.ReadOnly:
		return "OPTIONS, GET, HEAD, PROPFIND"
	case fi == nil:
		return "OPTIONS, PUT, MKCOL, LOCK"
	case fi.IsDir():
		return "OPTIONS, GET, HEAD, PROPFIND, PROPPATCH, DELETE, COPY, MOVE, LOCK, UNLOCK"
	}
	return "OPTIONS, GET, HEAD, PUT, PROPFIND, PROPPATCH, DELETE, COPY, MOVE, LOCK, UNLOCK"
}
