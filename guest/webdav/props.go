package webdav

import (
	"context"
	"encoding/xml"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"time"
	"unicode/utf8"
)

// property is a live property (RFC 4918 15). value appends its XML, and
// reports false if the entry does not have it.
type property struct {
	local   string
	needsFI bool // cannot be told of an entry of which only the name is known
	value   func(b []byte, name string, fi fs.FileInfo) ([]byte, bool)
}

// liveProperties are those that allprop gives. All are computed from the FileInfo and the name.
var liveProperties = []property{
	{"resourcetype", true, func(b []byte, _ string, fi fs.FileInfo) ([]byte, bool) {
		if fi.IsDir() {
			b = append(b, "<D:collection/>"...)
		}
		return b, true
	}},
	{"displayname", false, func(b []byte, name string, fi fs.FileInfo) ([]byte, bool) {
		if name == "." {
			return b, true // the root's own name is not the client's business
		}
		if !representable(fi.Name()) {
			return b, false // the href has the name, byte for byte
		}
		return appendText(b, fi.Name()), true
	}},
	{"getcontentlength", true, fileOnly(func(b []byte, fi fs.FileInfo) []byte {
		return strconv.AppendInt(b, fi.Size(), 10)
	})},
	{"getcontenttype", false, fileOnly(func(b []byte, fi fs.FileInfo) []byte {
		return appendText(b, contentType(fi.Name()))
	})},
	{"getetag", true, fileOnly(func(b []byte, fi fs.FileInfo) []byte {
		return appendText(b, etag(fi))
	})},
	{"getlastmodified", true, func(b []byte, _ string, fi fs.FileInfo) ([]byte, bool) {
		return writable(fi.ModTime()).AppendFormat(b, http.TimeFormat), true
	}},
	// Linux has no portable creation time; macOS does not mount without a date.
	{"creationdate", true, func(b []byte, _ string, fi fs.FileInfo) ([]byte, bool) {
		return writable(fi.ModTime()).AppendFormat(b, time.RFC3339), true
	}},
}

// supportedLock is there for those who may lock (RFC 4918 15.10).
var supportedLock = property{"supportedlock", false, func(b []byte, _ string, _ fs.FileInfo) ([]byte, bool) {
	for _, scope := range []string{"exclusive", "shared"} {
		b = append(b, "<D:lockentry><D:lockscope><D:"+scope+"/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"...)
	}
	return b, true
}}

// lockDiscovery are the locks on an entry (RFC 4918 15.8).
func (s *Server) lockDiscovery(ctx context.Context) property {
	now := s.locks.now()
	folder, own := "", "" // that of the last entry, and its own name
	return property{"lockdiscovery", false, func(b []byte, name string, fi fs.FileInfo) ([]byte, bool) {
		if s.locks.none() {
			return b, true
		}
		if isLink(fi) || name == "." {
			name = s.writes.Canonical(ctx, name, true)
		} else {
			if d := path.Dir(name); d != folder {
				folder, own = d, s.writes.Canonical(ctx, d, true)
			}
			name = path.Join(own, path.Base(name))
		}
		for _, k := range s.locks.on(name) {
			b = append(b, k.active(now)...)
		}
		return b, true
	}}
}

func fileOnly(f func([]byte, fs.FileInfo) []byte) func([]byte, string, fs.FileInfo) ([]byte, bool) {
	return func(b []byte, _ string, fi fs.FileInfo) ([]byte, bool) {
		if fi.IsDir() {
			return b, false
		}
		return f(b, fi), true
	}
}

// selection is a wanted made ready to be applied to many entries.
type selection struct {
	props     []property // a nil value is a property that nothing has
	names     []xml.Name // of each property
	empty     [][]byte   // of each property, the element without a value
	unknown   bool       // some are not live
	quiet     bool       // a property that the entry does not have is left out, not 404
	namesOnly bool
}

// selection chooses from the live properties, and from byName, of which allprop
// and propname know nothing.
func (s *Server) selection(ctx context.Context, w wanted, byName []property) selection {
	live := liveProperties
	if !s.opt.ReadOnly {
		live = append(live[:len(live):len(live)], supportedLock, s.lockDiscovery(ctx))
	}
	sel := selection{quiet: w.all || w.namesOnly, namesOnly: w.namesOnly}
	chosen := map[xml.Name]bool{}
	if sel.quiet {
		for _, p := range live {
			chosen[xml.Name{Space: "DAV:", Local: p.local}] = true
			sel.add(p, "DAV:")
		}
	}
	live = append(live[:len(live):len(live)], byName...)
	for _, n := range w.props {
		if chosen[n] {
			continue
		}
		p := property{local: n.Local}
		if n.Space == "DAV:" {
			for _, l := range live {
				if l.local == n.Local {
					p = l
				}
			}
		}
		sel.add(p, n.Space)
	}
	return sel
}

func (sel *selection) add(p property, space string) {
	sel.props = append(sel.props, p)
	sel.names = append(sel.names, xml.Name{Space: space, Local: p.local})
	sel.unknown = sel.unknown || p.value == nil
	e := []byte("<D:" + p.local + "/>")
	if space == "" {
		e = []byte("<" + p.local + ` xmlns=""/>`)
	} else if space != "DAV:" {
		e = append(appendText([]byte("<x:"+p.local+` xmlns:x="`), space), `"/>`...)
	}
	sel.empty = append(sel.empty, e)
}

// appendText appends s as XML text. Nearly all names need no escaping.
func appendText(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '&':
			b = append(b, "&amp;"...)
		case '<':
			b = append(b, "&lt;"...)
		case '>':
			b = append(b, "&gt;"...)
		case '"':
			b = append(b, "&#34;"...)
		case '\t', '\n', '\r': // a parser would normalise these
			b = append(b, "&#"...)
			b = strconv.AppendInt(b, int64(c), 10)
			b = append(b, ';')
		default:
			b = append(b, c)
		}
	}
	return b
}

// representable reports whether XML 1.0 can hold s (section 2.2, Char).
func representable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return false
		}
	}
	return true
}
