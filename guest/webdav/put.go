package webdav

import (
	"net/http"
	"strconv"
)

// put answers PUT (RFC 4918 9.7). The file is replaced whole, when all of the
// body is on disk, or not at all.
func (s *Server) put(w http.ResponseWriter, r *http.Request, name string) {
	if r.Header.Get("Content-Range") != "" {
		// RFC 9110 14.5: taken for the whole, a part would replace the file.
		fail(w, r, refuse(http.StatusBadRequest, "a file can only be put whole"))
		return
	}
	op := &operation{expect: r.ContentLength}
	// macOS sends chunks, and the length in a header of its own.
	if v := r.Header.Get("X-Expected-Entity-Length"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 || op.expect >= 0 && op.expect != n {
			fail(w, r, refuse(http.StatusBadRequest, "the announced length makes no sense"))
			return
		}
		op.expect = n
	}
	s.delegate(w, r, name, op)
}
