package webdav

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
)

// QuotaFS is an FS that knows how much room it has.
type QuotaFS interface {
	// Quota asks anew each time; over sshfs each is a round trip
	// (statvfs@openssh.com).
	Quota(ctx context.Context) (Quota, error)
}

// quotaOfFS is the quota of an FS that stands behind another.
func quotaOfFS(ctx context.Context, fsys FS) (Quota, error) {
	if q, ok := fsys.(QuotaFS); ok {
		return q.Quota(ctx)
	}
	return Quota{}, errors.ErrUnsupported
}

// Quota is the room in a file system, in bytes.
type Quota struct{ Available, Used uint64 }

const (
	quotaAvailable = "quota-available-bytes"
	quotaUsed      = "quota-used-bytes"
)

// quotaProperties are the properties of RFC 4331 if w names one of them, else
// none: they are not in allprop (its section 3), and the file system is not
// asked without need. A folder has them, a file does not.
//
// macOS never sees them: from 15.4 on it stalls for about 90 s when it mounts a
// server that has them (9001/copyparty#1242).
func (s *Server) quotaProperties(r *http.Request, w wanted, self fs.FileInfo) []property {
	if s.quota == nil || !self.IsDir() || fromMacOS(r) || !w.names(quotaAvailable, quotaUsed) {
		return nil
	}
	q, err := s.quota.Quota(r.Context())
	if err != nil {
		s.quotaFailed.Do(func() { s.log.Printf("webdav: the room in the file system is not known: %v", err) })
		return nil
	}
	return []property{{quotaAvailable, true, ofFolder(q.Available)}, {quotaUsed, true, ofFolder(q.Used)}}
}

func ofFolder(n uint64) func([]byte, string, fs.FileInfo) ([]byte, bool) {
	return func(b []byte, _ string, fi fs.FileInfo) ([]byte, bool) {
		if !fi.IsDir() {
			return b, false
		}
		return strconv.AppendUint(b, n, 10), true
	}
}

// names reports whether one of DAV:'s properties is asked for by its name.
func (w wanted) names(local ...string) bool {
	for _, p := range w.props {
		for _, l := range local {
			if p.Space == "DAV:" && p.Local == l {
				return true
			}
		}
	}
	return false
}

// fromMacOS reports whether macOS's own client sent r. WebDAVLib sends the
// first OPTIONS of a mount, WebDAVFS all else.
func fromMacOS(r *http.Request) bool {
	ua := r.UserAgent()
	return strings.HasPrefix(ua, "WebDAVFS/") || strings.HasPrefix(ua, "WebDAVLib/")
}
