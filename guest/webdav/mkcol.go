package webdav

import (
	"errors"
	"io/fs"
	"net/http"
)

// mkcol answers MKCOL (RFC 4918 9.3).
func (s *Server) mkcol(w http.ResponseWriter, r *http.Request, name string) {
	if r.ContentLength != 0 {
		fail(w, r, refuse(http.StatusUnsupportedMediaType, "a folder is made without a body"))
		return
	}
	defer s.changing(name)()
	if err := unmoved(r, s.entry, name); err != nil {
		fail(w, r, err)
		return
	}
	if err := s.preconditions(r, name, target{name: name, member: true}); err != nil {
		fail(w, r, err)
		return
	}
	switch _, err := s.fs.Stat(r.Context(), name); {
	case err == nil:
		fail(w, r, fs.ErrExist)
		return
	case !errors.Is(err, fs.ErrNotExist):
		fail(w, r, err)
		return
	}
	err := s.folderOf(r, name)
	if err == nil {
		err = s.writes.Mkdir(r.Context(), name)
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}
