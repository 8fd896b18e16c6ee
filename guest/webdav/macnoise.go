package webdav

import (
	"net/http"
	"path"
	"strings"
)

// errMacNoise: macOS takes it for EPERM, and goes on without.
var errMacNoise = refuse(http.StatusForbidden, "files that only a Mac's Finder needs (._*, .DS_Store) are not kept here")

// macNoise reports whether name is that of a file in which macOS keeps what the file system has no
// place for: extended attributes (AppleDouble), and how Finder shows a folder.
func macNoise(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(base, "._") || base == ".DS_Store"
}

// refusesNew is an error where a request may not make name. What is there already can be changed
// and moved, or nobody would get rid of it.
func (s *Server) refusesNew(r *http.Request, name string) error {
	if !s.opt.RefuseMacNoise || !macNoise(name) {
		return nil
	}
	if _, err := s.fs.Stat(r.Context(), name); err == nil {
		return nil
	}
	return errMacNoise
}
