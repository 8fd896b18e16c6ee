package webdav

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// putBuffer is how much is written at once, in bytes: whole blocks of gocryptfs (4 KiB), which reads
// one before it writes a part of it, and many, since over sshfs each writing waits. So many bodies
// at once have one; others are written in smaller pieces, or the buffers would be much memory.
const (
	putBuffer      = 4 << 20
	putBufferSmall = 128 << 10
	putBuffersMax  = 4
)

// put answers PUT (RFC 9110 9.3.4, RFC 4918 9.7). The file is replaced whole, when all of the
// body is on disk and the conditions still hold, or not at all.
func (s *Server) put(w http.ResponseWriter, r *http.Request, name string) {
	if r.Header.Get("Content-Range") != "" {
		// RFC 9110 14.5: taken for the whole, a part would replace the file.
		fail(w, r, refuse(http.StatusBadRequest, "a file can only be put whole"))
		return
	}
	expect := r.ContentLength
	// macOS sends chunks, and the length in a header of its own.
	if v := r.Header.Get("X-Expected-Entity-Length"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 || expect >= 0 && expect != n {
			fail(w, r, refuse(http.StatusBadRequest, "the announced length makes no sense"))
			return
		}
		expect = n
	}
	modTime, err := ocModTime(r)
	if err != nil {
		fail(w, r, err)
		return
	}
	replaced, fi, err := s.replace(r, name, expect, modTime)
	if err != nil {
		fail(w, r, err)
		return
	}
	if fi != nil {
		w.Header().Set("ETag", etag(fi))
		if !modTime.IsZero() && fi.ModTime().Unix() == modTime.Unix() {
			w.Header().Set("X-OC-Mtime", "accepted")
		}
	}
	if replaced {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// replace puts the body, of expect bytes or, if that is below 0, of any length, in the place
// of name, and describes what is there then, if it can, before somebody else replaces it.
func (s *Server) replace(r *http.Request, name string, expect int64, modTime time.Time) (replaced bool, now fs.FileInfo, err error) {
	look := func() error {
		fi, err := s.fs.Stat(r.Context(), name)
		replaced = err == nil
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = s.folderOf(r, name)
		case err == nil && fi.IsDir():
			err = refuse(http.StatusMethodNotAllowed, "this is a folder")
		}
		if err != nil {
			return err
		}
		return s.preconditions(r, name, target{name: name, member: !replaced})
	}
	if err := look(); err != nil {
		return false, nil, err
	}
	u, err := s.writes.OpenWrite(r.Context(), name)
	if err != nil {
		return false, nil, err
	}
	committed := false
	defer func() {
		if !committed {
			u.Abort()
		}
	}()
	size, err := s.fill(u, r.Body, expect)
	if err != nil {
		return false, nil, err
	}
	if !modTime.IsZero() {
		u.SetModTime(modTime)
	}
	// Before others have to wait. What is small is synced by Commit alone: over sshfs each sync is
	// three round trips, whatever it writes.
	if size > putBufferSmall {
		if err := u.Sync(); err != nil {
			return false, nil, err
		}
	}
	defer s.changing(name)()
	if err := unmoved(r, s.entry, name); err != nil {
		return false, nil, err
	}
	if err := look(); err != nil {
		return false, nil, err
	}
	// What has come is to be kept, also if the client does not wait for the answer.
	committed = true // it cleans up after itself
	if err := u.Commit(); err != nil {
		return false, nil, err
	}
	now, err = s.fs.Stat(context.WithoutCancel(r.Context()), name)
	if err != nil {
		now = nil // it is there all the same
	}
	return replaced, now, nil
}

// ocModTime is the modification time that rclone and others send with a file, in seconds since
// 1970 (X-OC-Mtime of ownCloud and Nextcloud); zero: none.
func ocModTime(r *http.Request) (time.Time, error) {
	v := r.Header.Get("X-OC-Mtime")
	if v == "" {
		return time.Time{}, nil
	}
	sec, frac, _ := strings.Cut(v, ".") // some send parts of seconds, which do not count
	n, err := strconv.ParseInt(sec, 10, 64)
	if err != nil || strings.Trim(frac, "0123456789") != "" {
		return time.Time{}, refuse(http.StatusBadRequest, "the modification time makes no sense")
	}
	t := time.Unix(n, 0)
	if !storable(t) {
		return time.Time{}, refuse(http.StatusBadRequest, "the modification time makes no sense; it is in seconds since 1970")
	}
	return t, nil
}

// storable reports whether a file system can be asked for a modification time: beyond it,
// nanoseconds in 64 bits end, and another one would be stored.
func storable(t time.Time) bool { return t.Year() >= 1970 && t.Year() <= 2261 }

// fill copies a body, and returns its size in bytes. An error says whether it broke off, or could
// not be written.
func (s *Server) fill(u Upload, body io.Reader, expect int64) (total int64, err error) {
	size := int64(putBufferSmall)
	select {
	case s.putBuffers <- struct{}{}:
		defer func() { <-s.putBuffers }()
		size = putBuffer
	default:
	}
	if expect >= 0 && expect < size {
		size = expect + 1 // to see what comes too much
	}
	buf := make([]byte, size)
	for ended := false; ; {
		n := 0
		for n < len(buf) && !ended {
			got, err := body.Read(buf[n:])
			n += got
			if ended = err == io.EOF; err != nil && !ended {
				return total, refuse(http.StatusBadRequest, "the body ended early")
			}
		}
		total += int64(n)
		if expect >= 0 && (total > expect || ended && total < expect) {
			return total, refuse(http.StatusBadRequest, "the body has another length than announced")
		}
		if _, err := u.Write(buf[:n]); err != nil {
			return total, err
		}
		if ended {
			return total, nil
		}
	}
}
