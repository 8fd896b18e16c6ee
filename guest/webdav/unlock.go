package webdav

import (
	"net/http"
	"strings"
)

// unlock answers UNLOCK (RFC 4918 9.11).
func (s *Server) unlock(w http.ResponseWriter, r *http.Request, name string) {
	h := strings.TrimSpace(r.Header.Get("Lock-Token"))
	token, rest, ok := strings.Cut(strings.TrimPrefix(h, "<"), ">")
	if !ok || !strings.HasPrefix(h, "<") || rest != "" {
		fail(w, r, refuse(http.StatusBadRequest, "which lock? a Lock-Token header is needed"))
		return
	}
	if _, err := s.ifHeader(r, name); err != nil {
		fail(w, r, err)
		return
	}
	if !s.locks.remove(token, name) {
		writeXML(w, http.StatusConflict, `<D:error xmlns:D="DAV:"><D:lock-token-matches-request-uri/></D:error>`)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
