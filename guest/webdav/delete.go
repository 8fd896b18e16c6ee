package webdav

import "net/http"

// delete answers DELETE (RFC 4918 9.6): all of it or, where a lock is on a part of it,
// nothing. What the file system does not let us remove is there again, with an error.
func (s *Server) delete(w http.ResponseWriter, r *http.Request, name string) {
	if d := r.Header.Get("Depth"); d != "" && d != "infinity" { // 9.6.1; of a file any would do
		if fi, err := s.fs.Stat(r.Context(), name); err == nil && fi.IsDir() {
			fail(w, r, refuse(http.StatusBadRequest, "a folder is deleted with all that is in it"))
			return
		}
	}
	rest, err := s.remove(r, name)
	if err == nil {
		s.unhurried(func() { err = rest() })
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) remove(r *http.Request, name string) (rest func() error, err error) {
	defer s.changingTree()()
	if err := unmoved(r, s.entry, name); err != nil {
		return nil, err
	}
	if _, err := s.fs.Stat(r.Context(), name); err != nil {
		return nil, err
	}
	if err := s.preconditions(r, name, target{name: name, member: true, tree: true}); err != nil {
		return nil, err
	}
	rest, err = s.writes.Remove(r.Context(), name)
	if err == nil {
		s.locks.forget(name, false)
	}
	return rest, err
}
