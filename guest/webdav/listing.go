package webdav

import (
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// listing answers GET and HEAD of a folder with a page for people. It reads the folder
// once and opens no file. The page begins after the last thing that can
// fail; HEAD reads nothing.
//
// No redirect adds the slash at the end: every address in the page is
// absolute, or a query alone, so it needs none, and no WebDAV client that asks for a folder
// without it gets a 301 that it does not know how to follow. Content-Location has the slash (RFC 4918 5.2).
func (s *Server) listing(w http.ResponseWriter, r *http.Request, name string) {
	var infos []fs.FileInfo
	if r.Method != http.MethodHead {
		var err error
		if infos, err = s.fs.ReadDir(r.Context(), name); err != nil {
			fail(w, r, err)
			return
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", listingPolicy)
	h.Set("Content-Location", string(appendHref(nil, name, true)))
	h.Set("Cache-Control", "no-store") // the names are secrets, and a browser's cache lies on a disk
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	// A copy, as it is sorted: others may have the same listing (Ahead).
	if err := writeListing(w, name, slices.Clone(infos), sortingOf(r.URL.Query())); err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
}

// summary says how much there is, as in "2 folders, 1 file, 3.4 MiB".
func summary(infos []fs.FileInfo) string {
	var folders, files, unreadable, bytes int64
	for _, fi := range infos {
		switch _, unknown := fi.(Unknown); {
		case unknown:
			unreadable++
		case fi.IsDir():
			folders++
		default:
			files++
			bytes += fi.Size()
		}
	}
	var parts []string
	if folders > 0 {
		parts = append(parts, counted(folders, "folder"))
	}
	if files > 0 {
		parts = append(parts, counted(files, "file"), size(bytes))
	}
	if unreadable > 0 {
		parts = append(parts, strconv.FormatInt(unreadable, 10)+" unreadable")
	}
	return strings.Join(parts, ", ")
}

func size(bytes int64) string { return humanize.IBytes(uint64(max(0, bytes))) }

func counted(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return humanize.Comma(n) + " " + what
}

// printable is name as a person can see it. Control characters become their
// pictures; what is not UTF-8, and what turns the direction of the text around, by which
// "exe.gpj" looks like "jpg.exe", becomes U+FFFD. (The page isolates each name, for
// those whose letters run from right to left.)
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ':
			return '\u2400' + r
		case r == 0x7F:
			return '\u2421'
		case 0x80 <= r && r < 0xA0, 0x202A <= r && r <= 0x202E, 0x2066 <= r && r <= 0x2069, r == 0x2028, r == 0x2029:
			return '\uFFFD'
		}
		return r // of a byte that is not UTF-8, U+FFFD already
	}, name)
}
