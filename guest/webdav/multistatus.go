package webdav

import (
	"bufio"
	"encoding/xml"
	"io"
	"io/fs"
	"net/http"
)

const xmlHeader = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

func writeXML(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, xmlHeader+body+"\n")
}

// multistatus writes a 207 (RFC 4918 13). It is put together by hand: a
// listing has thousands of equal elements, and reflection would be most of its cost.
type multistatus struct {
	w   *bufio.Writer
	sel selection
	b   []byte // one response
	ok  []byte // scratch: the properties with status 200, 403, 404
	no  []byte
	un  []byte

	dead func(stored string) ([]deadProp, error) // nil: there are none
}

func newMultistatus(w http.ResponseWriter, sel selection) *multistatus {
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.WriteHeader(http.StatusMultiStatus)
	m := &multistatus{w: bufio.NewWriterSize(w, 32<<10), sel: sel}
	m.w.WriteString(xmlHeader + `<D:multistatus xmlns:D="DAV:">` + "\n")
	return m
}

// write writes the response for one entry, which the file system has as stored; an error
// shows in close.
func (m *multistatus) write(name, stored string, fi fs.FileInfo) {
	m.properties(stored, fi)
	b := append(m.b[:0], "<D:response><D:href>"...)
	b = appendHref(b, name, fi.IsDir())
	b = append(b, "</D:href>"...)
	if len(m.ok) > 0 || len(m.un)+len(m.no) == 0 {
		b = appendPropstat(b, m.ok, "200 OK")
	}
	if len(m.un) > 0 {
		b = appendPropstat(b, m.un, "403 Forbidden")
	}
	if len(m.no) > 0 {
		b = appendPropstat(b, m.no, "404 Not Found")
	}
	b = append(b, "</D:response>\n"...)
	m.b = b
	m.w.Write(b)
}

func (m *multistatus) properties(stored string, fi fs.FileInfo) {
	m.ok, m.no, m.un = m.ok[:0], m.no[:0], m.un[:0]
	_, unknown := fi.(Unknown)
	dead := m.deadOf(stored, unknown)
	for i, p := range m.sel.props {
		if unknown && p.needsFI {
			m.un = append(m.un, m.sel.empty[i]...)
			continue
		}
		has := false
		before := len(m.ok)
		if p.value != nil {
			m.ok = append(m.ok, "<D:"...)
			m.ok = append(m.ok, p.local...)
			m.ok = append(m.ok, '>')
			m.ok, has = p.value(m.ok, stored, fi)
		}
		switch {
		case !has && p.value == nil && dead[m.sel.names[i]] != nil:
			m.ok = append(m.ok, dead[m.sel.names[i]]...)
		case !has:
			m.ok = m.ok[:before]
			if !m.sel.quiet || p.value == nil {
				m.no = append(m.no, m.sel.empty[i]...)
			}
		case m.sel.namesOnly:
			m.ok = append(m.ok[:before], m.sel.empty[i]...)
		default:
			m.ok = append(m.ok, "</D:"...)
			m.ok = append(m.ok, p.local...)
			m.ok = append(m.ok, '>')
		}
	}
}

// deadOf are the dead properties of an entry by name, as far as they are wanted. All of them, if
// all are, it adds to those that are there.
func (m *multistatus) deadOf(stored string, unknown bool) map[xml.Name]xmlText {
	if m.dead == nil || unknown || !m.sel.quiet && !m.sel.unknown {
		return nil
	}
	props, err := m.dead(stored)
	if err != nil {
		return nil // as if it had none: an entry is not to be missing for them
	}
	byName := map[xml.Name]xmlText{}
	for _, p := range props {
		byName[p.name] = p.text
		switch {
		case m.sel.namesOnly:
			m.ok = appendEnd(appendStart(m.ok, xml.StartElement{Name: p.name}), p.name)
		case m.sel.quiet:
			m.ok = append(m.ok, p.text...)
		}
	}
	if m.sel.quiet {
		return nil
	}
	return byName
}

func appendPropstat(b, props []byte, status string) []byte {
	b = append(b, "<D:propstat><D:prop>"...)
	b = append(b, props...)
	b = append(b, "</D:prop><D:status>HTTP/1.1 "...)
	b = append(b, status...)
	return append(b, "</D:status></D:propstat>"...)
}

// close completes the 207. Until it is written the client has no whole document.
func (m *multistatus) close() error {
	m.w.WriteString("</D:multistatus>\n")
	return m.w.Flush()
}

// appendHref appends the absolute path of name as a URL, a folder's with the
// slash that RFC 4918 5.2 asks for. All but RFC 3986's unreserved characters are
// encoded, each byte by itself, so that any name is a URL, and is XML.
func appendHref(b []byte, name string, dir bool) []byte {
	b = append(b, '/')
	if name == "." {
		return b
	}
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~', c == '/':
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	if dir {
		b = append(b, '/')
	}
	return b
}
