package webdav

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
)

// copyMove answers COPY and MOVE (RFC 4918 9.8, 9.9). x/net removes the
// destination first, so everything that could fail is looked at before.
func (s *Server) copyMove(w http.ResponseWriter, r *http.Request, src string) {
	dst, err := destination(r)
	if err == nil {
		dst, err = s.fs.place(r.Context(), dst)
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	op := &operation{expect: -1}
	if err := s.checkCopyMove(r, src, dst, op); err != nil {
		fail(w, r, err)
		return
	}
	r.Header.Set("Destination", (&url.URL{Path: "/" + dst}).EscapedPath()) // as it is stored
	if r.Header.Get("Overwrite") == "" {
		r.Header.Set("Overwrite", "T") // the default (10.6), which x/net's MOVE does not know
	}
	s.delegate(w, r, src, op)
}

// destination is the FS name in the Destination header (RFC 4918 10.3).
func destination(r *http.Request) (string, error) {
	u, err := url.Parse(r.Header.Get("Destination"))
	if err != nil || u.Path == "" || !strings.HasPrefix(u.Path, "/") {
		return "", refuse(http.StatusBadRequest, "a destination is needed")
	}
	if u.Host != "" && u.Host != r.Host {
		return "", refuse(http.StatusBadGateway, "the destination is on another server")
	}
	return nameOf(u.Path)
}

func (s *Server) checkCopyMove(r *http.Request, src, dst string, op *operation) error {
	ctx := r.Context()
	if dst == "." || within(src, dst) || within(dst, src) {
		return refuse(http.StatusForbidden, "the destination is the source, holds it, or lies in it")
	}
	from, err := s.fs.Stat(ctx, src)
	if err != nil {
		return err
	}
	parent, err := s.fs.Stat(ctx, path.Dir(dst))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !parent.IsDir() {
		return refuse(http.StatusConflict, "the destination's folder does not exist")
	}
	if err != nil {
		return err
	}
	// The same, where names differ because of symbolic links.
	for _, pair := range [][2]string{{src, dst}, {dst, src}} {
		if held, err := s.heldBy(r, pair[0], pair[1]); err != nil {
			return err
		} else if held {
			return refuse(http.StatusForbidden, "the destination lies in the source, or holds it")
		}
	}
	to, err := s.fs.Stat(ctx, dst)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case sameFile(from, to) && (r.Method == "COPY" || from.IsDir()):
		return refuse(http.StatusForbidden, "the destination is the source")
	case sameFile(from, to):
		// Hard links: rename(2) would do nothing and leave both. So remove first.
	case !from.IsDir() && !to.IsDir():
		op.keep = dst
	}
	return nil
}

// within reports whether name is folder, or lies in it, by name.
func within(name, folder string) bool {
	return name == folder || folder == "." || strings.HasPrefix(name, folder+"/")
}

// heldBy reports whether one of the folders above name is the folder.
func (s *Server) heldBy(r *http.Request, name, folder string) (bool, error) {
	fi, err := s.fs.Stat(r.Context(), folder)
	if err != nil || !fi.IsDir() {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return false, err
	}
	for name != "." {
		name = path.Dir(name)
		a, err := s.fs.Stat(r.Context(), name)
		if err != nil {
			return false, err
		}
		if sameFile(a, fi) {
			return true, nil
		}
	}
	return false, nil
}

// sameFile is os.SameFile for infos that may have come over a symbolic link.
func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(bare(a), bare(b))
}

func bare(fi fs.FileInfo) fs.FileInfo {
	if n, ok := fi.(named); ok {
		return n.FileInfo
	}
	return fi
}
