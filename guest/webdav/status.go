package webdav

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"syscall"
)

// refusal is an error with a status and a line for the person.
type refusal struct {
	status int
	reason string
}

func (r *refusal) Error() string { return r.reason }

func refuse(status int, reason string) *refusal { return &refusal{status, reason} }

// statusOf is the HTTP status for an error of the file system. Only what does
// not exist is 404: to a client that mirrors or deletes, 404 is a fact, not a failure.
func statusOf(err error) int {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r.status
	case errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return http.StatusInsufficientStorage
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EXDEV),
		errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EILSEQ):
		return http.StatusForbidden
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return http.StatusMethodNotAllowed
	case errors.Is(err, syscall.EFBIG):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, syscall.EBUSY):
		return http.StatusLocked
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// fail answers with the status for err and one line that says why, without
// names or addresses of the server's side.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	var locked *lockedError
	if errors.As(err, &locked) {
		b := appendHref([]byte(`<D:error xmlns:D="DAV:"><D:`+locked.element+`><D:href>`), locked.name, locked.dir)
		writeXML(w, http.StatusLocked, string(append(b, "</D:href></D:"+locked.element+"></D:error>"...)))
		return
	}
	status := statusOf(err)
	reason := strings.ToLower(http.StatusText(status))
	var ref *refusal
	switch {
	case errors.As(err, &ref):
		reason = ref.reason
	case status == http.StatusInternalServerError:
		reason = "input/output error behind the server"
	}
	if status >= 500 && fromMacOS(r) {
		// macOS makes ENOENT of every 5xx but this one (ENOSPC). What could not be
		// read must not look deleted.
		status = http.StatusInsufficientStorage
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write([]byte(reason + "\n"))
	}
}
