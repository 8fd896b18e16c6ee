package webdav

import "net/http"

// delete answers DELETE (RFC 4918 9.6): all of it or, where a lock is on a part of it,
// nothing.
func (s *Server) delete(w http.ResponseWriter, r *http.Request, name string) {
	if d := r.Header.Get("Depth"); d != "" && d != "infinity" { // 9.6.1; of a file any would do
		if fi, err := s.fs.Stat(r.Context(), name); err == nil && fi.IsDir() {
			fail(w, r, refuse(http.StatusBadRequest, "a folder is deleted with all that is in it"))
			return
		}
	}
	defer s.changingTree()()
	if _, err := s.fs.Stat(r.Context(), name); err != nil {
		fail(w, r, err)
		return
	}
	if err := s.preconditions(r, name, target{name: name, member: true, tree: true}); err != nil {
		fail(w, r, err)
		return
	}
	if err := s.writes.Remove(r.Context(), name); err != nil {
		fail(w, r, err)
		return
	}
	s.locks.forget(name, false)
	w.WriteHeader(http.StatusNoContent)
}
