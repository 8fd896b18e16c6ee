// Package webdav serves a folder, or whatever implements FS, over WebDAV
// (RFC 4918) to the host's own client, on loopback.
//
// What a client gets is what the FS says at that time. Two things remember, in a
// read-only server alone: an Ahead, by which a listing may be old (see there), and
// absences, by which for 10 s after a listing was given out, however old that was, a
// PROPFIND for a name such as ._x or .DS_Store, which macOS looks for everywhere, is
// answered without a question to the FS. An entry by itself is never described from
// memory: macOS keeps what a listing said of it for 60 s (webdavfs,
// ATTRIBUTES_TIMEOUT_MAX) and does not ask again. A file is open once at a time, by
// Handles.
//
// A method is in a file. Nothing is left to golang.org/x/net/webdav: what it does wrong is in
// TestDataLoss.
package webdav

import (
	"errors"
	"log"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"fuseless/guest/webdav/challenge"
)

// Options say whom a Server serves, and how.
type Options struct {
	// User and Password are asked for by every request (Basic). They must be a
	// random secret of the session; see package challenge.
	User, Password string
	// ReadOnly refuses every method that writes, and announces WebDAV class 1,
	// by which macOS mounts read-only.
	ReadOnly bool
	// RefuseMacNoise refuses to make the files that macOS leaves in every folder (._*, .DS_Store).
	RefuseMacNoise bool
	// Log gets faults of the server; nil discards them. No request is logged.
	Log *log.Logger
}

// Server is a WebDAV server. It is an http.Handler; Serve adds the limits that
// a handler cannot impose.
type Server struct {
	fs        forms
	opt       Options
	log       *log.Logger
	creds     credentials
	challenge http.Handler
	writes    WriteFS // nil if read-only, like the next two
	locks     *locks
	props     PropFS // also nil if the file system keeps none

	putBuffers chan struct{} // those in use
	tree       sync.RWMutex  // see changing
	names      [64]sync.Mutex
	writing    sync.RWMutex // held by requests that may change something

	writeTimeout time.Duration

	absences *absences // nil, which knows nothing, unless read-only

	quota       QuotaFS // nil if the file system is none
	quotaFailed sync.Once
}

// New makes a Server. It fails if the credentials are incomplete, and if fsys
// is not a WriteFS and the server is not read-only.
func New(fsys FS, opt Options) (*Server, error) {
	if opt.User == "" || opt.Password == "" || strings.Contains(opt.User, ":") {
		return nil, errors.New("webdav: a user (without a colon) and a password are needed")
	}
	s := &Server{fs: forms{fsys}, opt: opt, log: opt.Log, writeTimeout: writeTimeout,
		creds:     newCredentials(opt.User, opt.Password),
		challenge: challenge.Handler(opt.User, opt.Password)}
	s.quota, _ = fsys.(QuotaFS)
	if s.log == nil {
		s.log = log.New(nowhere{}, "", 0)
	}
	if opt.ReadOnly {
		s.absences = newAbsences(time.Now)
	} else {
		w, ok := fsys.(WriteFS)
		if !ok {
			return nil, errors.New("webdav: this file system can only be served read-only")
		}
		s.writes, s.locks = w, newLocks(time.Now)
		s.props, _ = fsys.(PropFS)
		s.putBuffers = make(chan struct{}, putBuffersMax)
	}
	return s, nil
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.recover()
	defer limitRest(w)
	secure(w.Header())
	if err := checkHost(r); err != nil {
		fail(w, r, err)
		return
	}
	if r.Method == http.MethodGet && r.URL.Path == challenge.Path && r.URL.Query().Has("nonce") {
		s.challenge.ServeHTTP(w, r)
		return
	}
	if !s.creds.match(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="fuseless", charset="UTF-8"`)
		fail(w, r, refuse(http.StatusUnauthorized, "user and password, please"))
		return
	}
	name, err := nameOf(r.URL.Path)
	if err != nil {
		fail(w, r, err)
		return
	}
	s.route(w, r, name)
}

// limitRest sets the time for what is left of the body. net/http reads some of
// it after the answer, to keep the connection, and by itself would wait for ever.
func limitRest(w http.ResponseWriter) {
	// An error means a ResponseWriter without deadlines, such as a test's.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(headerTimeout))
}

func (s *Server) route(w http.ResponseWriter, r *http.Request, name string) {
	switch r.Method {
	case http.MethodOptions:
		s.options(w, r, name)
		return
	case http.MethodGet, http.MethodHead:
		s.get(w, r, name)
		return
	case "PROPFIND":
		s.propfind(w, r, name)
		return
	}
	if !writing[r.Method] {
		w.Header().Set("Allow", s.allow(nil))
		fail(w, r, refuse(http.StatusMethodNotAllowed, "no such method here"))
		return
	}
	if s.opt.ReadOnly {
		fail(w, r, refuse(http.StatusForbidden, "read-only: this is the view of a backup, and nothing can be written into it"))
		return
	}
	s.writing.RLock()
	defer s.writing.RUnlock()
	find := s.entry
	if r.Method == "LOCK" || r.Method == "UNLOCK" || r.Method == "PROPPATCH" {
		find = s.thing
	}
	asked := name
	name, err := find(r.Context(), asked)
	if err != nil {
		fail(w, r, err)
		return
	}
	if r.Method != "LOCK" && r.Method != "UNLOCK" && r.Method != "PROPPATCH" && name == "." {
		fail(w, r, refuse(http.StatusForbidden, "the root stays as it is"))
		return
	}
	if r.Method == http.MethodPut || r.Method == "MKCOL" || r.Method == "LOCK" {
		if err := s.refusesNew(r, name); err != nil {
			fail(w, r, err)
			return
		}
	}
	switch r.Method {
	case http.MethodPut:
		s.put(w, r, name)
	case "MOVE", "COPY":
		s.copyMove(w, r, name)
	case "DELETE":
		s.delete(w, r, name)
	case "MKCOL":
		s.mkcol(w, r, name)
	case "UNLOCK":
		s.unlock(w, r, name)
	case "LOCK", "PROPPATCH":
		if err := limitXML(w, r); err != nil {
			fail(w, r, err)
			return
		}
		if r.Method == "LOCK" {
			s.lock(w, r, asked, name)
			return
		}
		s.proppatch(w, r, asked, name)
	}
}

// writing holds the methods that a read-only server refuses.
var writing = map[string]bool{
	"PUT": true, "DELETE": true, "MKCOL": true, "MOVE": true, "COPY": true,
	"LOCK": true, "UNLOCK": true, "PROPPATCH": true,
}

// recover ends a request whose handler panicked by aborting the connection, so
// that a half-written answer is not taken for a whole one.
func (s *Server) recover() {
	v := recover()
	if v == nil {
		return
	}
	if v != http.ErrAbortHandler {
		s.log.Printf("webdav: panic: %v\n%s", v, debug.Stack())
	}
	panic(http.ErrAbortHandler)
}

// nameOf is the FS name for the path of a URL, which net/url has decoded once:
// an encoded slash is a slash, and a backslash is a character like others, as
// on Linux. Cleaning cannot climb above the root.
func nameOf(urlPath string) (string, error) {
	if strings.ContainsRune(urlPath, 0) {
		return "", refuse(http.StatusBadRequest, "a name cannot hold NUL")
	}
	if urlPath == "*" { // OPTIONS *, RFC 9110 9.3.7
		return ".", nil
	}
	name := strings.TrimPrefix(path.Clean("/"+urlPath), "/")
	if name == "" {
		return ".", nil
	}
	return name, nil
}
