package webdav

import (
	"io/fs"
	"mime"
	"path"
	"strconv"
	"strings"
	"time"
)

// contentType is the type by extension. The contents are never sniffed: that
// would open every file of a listing, and let contents choose how a browser treats them.
func contentType(name string) string {
	if t := mime.TypeByExtension(strings.ToLower(path.Ext(name))); t != "" {
		return t
	}
	return "application/octet-stream"
}

// inline reports whether a browser may show the type in place: texts and
// pictures. Everything that could run (HTML, SVG, XML, scripts), and whatever is unknown, is an
// attachment. So are sound and films: their player fetches the file anew, from
// the sandbox's origin, and gets nothing (Chromium 156).
func inline(ctype string) bool {
	t, _, _ := strings.Cut(ctype, ";")
	return t == "text/plain" || strings.HasPrefix(t, "image/") && !strings.Contains(t, "xml")
}

// etag is strong, and changes with the modification time and the size. The
// inode number would be better evidence, but sshfs makes it up anew.
func etag(fi fs.FileInfo) string {
	var buf [40]byte
	b := append(buf[:0], '"')
	b = strconv.AppendInt(b, fi.ModTime().UnixNano(), 16)
	b = append(b, '-')
	b = strconv.AppendInt(b, fi.Size(), 16)
	return string(append(b, '"'))
}

// writable is t, within the years that HTTP and RFC 3339 dates can express.
func writable(t time.Time) time.Time {
	t = t.UTC()
	switch {
	case t.Year() < 1:
		return time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 9999:
		return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return t
}
