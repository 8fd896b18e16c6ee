package webdav

import (
	"context"
	"net/http"
)

// delegate lets x/net carry out r on name, and puts right the status that it
// makes of the file system's errors (of most, 403, 404 or 405).
func (s *Server) delegate(w http.ResponseWriter, r *http.Request, name string, op *operation) {
	op.method = r.Method
	r = r.WithContext(context.WithValue(r.Context(), operationKey{}, op))
	u := *r.URL
	u.Path, u.RawPath = "/", ""
	if name != "." {
		u.Path = "/" + name
	}
	r.URL = &u
	s.dav.ServeHTTP(&delegateWriter{ResponseWriter: w, r: r, op: op}, r)
}

type delegateWriter struct {
	http.ResponseWriter
	r        *http.Request
	op       *operation
	wrote    bool
	replaced bool // the body is ours
}

func (d *delegateWriter) WriteHeader(status int) {
	if d.wrote {
		return
	}
	d.wrote = true
	switch status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusInternalServerError:
		if d.op.err != nil {
			d.replaced = true
			fail(d.ResponseWriter, d.r, d.op.err)
			return
		}
		if status == http.StatusInternalServerError && d.op.method == "LOCK" {
			status = http.StatusConflict // the parent is missing (RFC 4918 9.10.6)
		}
	case http.StatusCreated:
		if d.op.method == http.MethodPut && d.op.replaced {
			d.replaced = true // of 204, none
			status = http.StatusNoContent
		}
	}
	d.ResponseWriter.WriteHeader(status)
}

func (d *delegateWriter) Write(p []byte) (int, error) {
	d.wrote = true
	if d.replaced {
		return len(p), nil
	}
	return d.ResponseWriter.Write(p)
}
