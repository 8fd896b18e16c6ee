package webdav

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
)

// copyMove answers COPY and MOVE (RFC 4918 9.8, 9.9): all of it, or what is at the
// destination stays.
func (s *Server) copyMove(w http.ResponseWriter, r *http.Request, src string) {
	dst, err := destination(r)
	if err == nil {
		dst, err = s.entry(r.Context(), dst)
	}
	if err == nil {
		err = s.refusesNew(r, dst)
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	var there bool
	var rest func()
	if r.Method == "MOVE" {
		there, rest, err = s.move(r, src, dst)
	} else {
		there, rest, err = s.copy(r, src, dst)
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	s.unhurried(rest)
	if there {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// move carries MOVE out; there is whether something was at the destination, and rest removes
// that.
func (s *Server) move(r *http.Request, src, dst string) (there bool, rest func(), err error) {
	defer s.changingTree()()
	if err := unmoved(r, s.entry, src, dst); err != nil {
		return false, nil, err
	}
	if _, there, err = s.mayCopyMove(r, src, dst, target{name: src, member: true, tree: true}); err != nil {
		return there, nil, err
	}
	if rest, err = s.writes.Rename(r.Context(), src, dst); err != nil {
		return there, nil, err
	}
	s.locks.forget(dst, true)
	s.locks.forget(src, false) // a lock does not move (7.6)
	return there, rest, nil
}

// copy carries COPY out; there is whether something was at the destination, and rest removes
// that. Others may change what they like until the copy is whole.
func (s *Server) copy(r *http.Request, src, dst string) (there bool, rest func(), err error) {
	from, _, err := s.mayCopyMove(r, src, dst)
	if err != nil {
		return false, nil, err
	}
	stage, err := s.writes.Stage(r.Context(), dst)
	if err != nil {
		return false, nil, err
	}
	err = s.copyInto(r.Context(), stage, ".", src, from, r.Header.Get("Depth") != "0")
	if err == nil {
		err = stage.Sync() // before others have to wait
	}
	if err != nil {
		stage.Abort()
		return false, nil, err
	}
	return s.commit(r, stage, src, dst)
}

// commit puts a copy in its place, if it still may.
func (s *Server) commit(r *http.Request, stage Stage, src, dst string) (there bool, rest func(), err error) {
	release := s.changingTree() // the destination may be a folder, and holds what others change
	err = unmoved(r, s.entry, src, dst)
	if err == nil {
		_, there, err = s.mayCopyMove(r, src, dst)
	}
	if err != nil {
		release()
		stage.Abort()
		return false, nil, err
	}
	defer release()
	if rest, err = stage.Commit(); err != nil {
		return there, nil, err
	}
	s.locks.forget(dst, true)
	return there, rest, nil
}

// mayCopyMove says whether a request may be carried out, as things are; also is what it changes
// besides the destination.
func (s *Server) mayCopyMove(r *http.Request, src, dst string, also ...target) (from fs.FileInfo, there bool, err error) {
	if from, there, err = s.checkCopyMove(r, src, dst); err != nil {
		return nil, false, err
	}
	switch depth := r.Header.Get("Depth"); {
	case depth == "" || depth == "infinity":
	case depth == "0" && r.Method == "COPY": // 9.8.3
	case from.IsDir():
		return nil, false, refuse(http.StatusBadRequest, "a folder is moved with all that is in it, and copied so or alone (depth 0)")
	}
	if err := s.preconditions(r, src, append(also, target{name: dst, member: !there, tree: true})...); err != nil {
		return nil, false, err
	}
	if there && r.Header.Get("Overwrite") == "F" { // the default is T (10.6)
		return nil, false, refuse(http.StatusPreconditionFailed, "there is something at the destination")
	}
	return from, there, nil
}

func (s *Server) copyInto(ctx context.Context, stage Stage, at, src string, from fs.FileInfo, deep bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !from.IsDir() {
		return s.copyFile(ctx, stage, at, src, from)
	}
	if err := stage.Mkdir(ctx, at, src, from.Mode().Perm()); err != nil || !deep {
		return err
	}
	infos, err := s.writes.Entries(ctx, src)
	if err != nil {
		return err
	}
	for _, fi := range infos {
		if u, ok := fi.(Unknown); ok {
			return u.Err() // leaving it out would lose data silently
		}
		if isLink(fi) && fi.IsDir() {
			// Following such links can multiply a tree without bound; leaving them out would
			// lose data silently.
			return refuse(http.StatusForbidden, "a symbolic link to a folder cannot be copied: "+strings.ToValidUTF8(fi.Name(), "?"))
		}
		if err := s.copyInto(ctx, stage, path.Join(at, fi.Name()), path.Join(src, fi.Name()), fi, true); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) copyFile(ctx context.Context, stage Stage, at, src string, from fs.FileInfo) error {
	f, err := s.fs.FS.Open(ctx, src)
	if err != nil {
		return err
	}
	defer f.Close()
	u, err := stage.OpenWrite(ctx, at)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{u}, struct{ io.Reader }{f}, make([]byte, copyBuffer))
	if err == nil {
		err = stays(ctx, s.fs.FS, src, f, from)
	}
	if err != nil {
		u.Abort()
		return err
	}
	u.CopyOf(src, from)
	return u.Commit()
}

// stays is an error unless a file that was read is the one that was described, and is still
// there.
func stays(ctx context.Context, fsys FS, name string, f File, was fs.FileInfo) error {
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := fsys.Stat(ctx, name)
	if err != nil {
		return err
	}
	for _, fi := range []fs.FileInfo{opened, now} {
		if !sameVersion(fi, was) {
			return errChanged
		}
	}
	return nil
}

// copyBuffer is how much is copied at once, in bytes: whole blocks of gocryptfs (see putBuffer).
const copyBuffer = 1 << 20

// destination is the FS name in the Destination header (RFC 4918 10.3).
func destination(r *http.Request) (string, error) {
	return nameOfURI(r, r.Header.Get("Destination"))
}

// nameOfURI is the FS name for a URI in a header (RFC 4918 8.3).
func nameOfURI(r *http.Request, uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil || !strings.HasPrefix(u.Path, "/") {
		return "", refuse(http.StatusBadRequest, "a URI in a header is missing, or makes no sense")
	}
	if u.Host != "" && u.Host != r.Host {
		return "", refuse(http.StatusBadGateway, "this is on another server")
	}
	return nameOf(u.Path)
}

// checkCopyMove looks at everything that could fail; there is whether something is at the
// destination.
func (s *Server) checkCopyMove(r *http.Request, src, dst string) (from fs.FileInfo, there bool, err error) {
	ctx := r.Context()
	if dst == "." || within(src, dst) || within(dst, src) {
		return nil, false, refuse(http.StatusForbidden, "the destination is the source, holds it, or lies in it")
	}
	if from, err = s.fs.Stat(ctx, src); err != nil {
		return nil, false, err
	}
	if isLink(from) && r.Method == "MOVE" && path.Dir(src) != path.Dir(dst) {
		return nil, false, refuse(http.StatusForbidden, "a symbolic link would lead nowhere in another folder; move what it points to")
	}
	if err := s.folderOf(r, dst); err != nil {
		return nil, false, err
	}
	to, err := s.fs.Stat(ctx, dst)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	// The same, where one of them is a symbolic link; others are called by their own names.
	for _, pair := range [][2]string{{src, dst}, {dst, src}} {
		if !isLink(from) && !isLink(to) {
			break
		}
		if held, err := s.heldBy(r, pair[0], pair[1]); err != nil {
			return nil, false, err
		} else if held {
			return nil, false, refuse(http.StatusForbidden, "the destination lies in the source, or holds it")
		}
	}
	if err != nil {
		return from, false, nil
	}
	if sameFile(from, to) {
		// By another name: a link to it, a hard link, or the same entry by way of a linked folder.
		// rename(2) does nothing with two names of one file, or what is asked for would leave none.
		return nil, false, refuse(http.StatusForbidden, "the destination is the source")
	}
	return from, true, nil
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

// isLink reports whether what fi, which may be nil, describes was reached by a symbolic link.
func isLink(fi fs.FileInfo) bool {
	_, ok := fi.(interface{ linked() })
	return ok
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
