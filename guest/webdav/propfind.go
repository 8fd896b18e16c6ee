package webdav

import (
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
)

// propertiesMax bounds the properties that a request may name, since the answer
// repeats each for every entry.
const propertiesMax = 256

// propfind answers PROPFIND (RFC 4918 9.1) from one reading of the folder, and
// opens no file. The 207 begins after the last thing that can fail.
func (s *Server) propfind(w http.ResponseWriter, r *http.Request, name string) {
	if err := limitXML(w, r); err != nil {
		fail(w, r, err)
		return
	}
	depth := r.Header.Get("Depth")
	switch depth {
	case "0", "1":
	case "", "infinity":
		// Absent means infinity (9.1), which a server may refuse (9.1.1).
		writeXML(w, http.StatusForbidden, `<D:error xmlns:D="DAV:"><D:propfind-finite-depth/></D:error>`)
		return
	default:
		fail(w, r, refuse(http.StatusBadRequest, "depth must be 0 or 1"))
		return
	}
	asked, err := readPropfind(r.Body)
	if err != nil {
		fail(w, r, err)
		return
	}
	if s.absences.has(name) {
		fail(w, r, fs.ErrNotExist)
		return
	}
	began := s.absences.time()
	stored, self, err := s.fs.stored(r.Context(), name)
	if err != nil {
		fail(w, r, err)
		return
	}
	var entries []fs.FileInfo
	if depth == "1" && self.IsDir() {
		if entries, err = s.fs.FS.ReadDir(r.Context(), stored); err != nil {
			fail(w, r, err)
			return
		}
		s.absences.listed(name, began, entries)
	}
	m := newMultistatus(w, s.selection(r.Context(), asked, s.quotaProperties(r, asked, self)))
	if s.props != nil {
		m.dead = func(stored string) ([]deadProp, error) { return s.deadPropsOf(r.Context(), stored) }
	}
	// The hrefs are of the name as it was asked for, in whatever form it is
	// stored: macOS takes for the folder itself what is not longer than the path
	// that it asked for (webdavfs, GetComponentName), and davfs2 drops what does not
	// begin with that path (its webdav.c, prop_result).
	m.write(name, stored, self)
	for _, fi := range entries {
		shown := joined(name, fi.Name())
		entry := shown
		if stored != name {
			entry = joined(stored, fi.Name())
		}
		m.write(shown, entry, fi)
	}
	if err := m.close(); err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
}

// joined is path.Join for a clean folder and what is in it: to clean each anew is a part of a
// large listing that shows.
func joined(folder, base string) string {
	if folder == "." {
		return base
	}
	return folder + "/" + base
}

// wanted is what a PROPFIND asks for: all properties with some more, their
// names only, or the given ones.
type wanted struct {
	all, namesOnly bool
	props          []xml.Name
}

var errPropfind = refuse(http.StatusBadRequest, "the body is not a propfind element as RFC 4918 has it")

// readPropfind parses the body (RFC 4918 14.20), which limitXML has seen. An
// empty one asks for all properties.
func readPropfind(body io.Reader) (wanted, error) {
	var p struct {
		XMLName  xml.Name   `xml:"DAV: propfind"`
		Allprop  *struct{}  `xml:"DAV: allprop"`
		Propname *struct{}  `xml:"DAV: propname"`
		Prop     *propNames `xml:"DAV: prop"`
		Include  *propNames `xml:"DAV: include"`
	}
	b, err := io.ReadAll(body)
	if err == nil && len(b) == 0 {
		return wanted{all: true}, nil
	}
	dec := strictXML(b)
	if err := dec.Decode(&p); err != nil {
		var ref *refusal
		if errors.As(err, &ref) {
			return wanted{}, ref
		}
		return wanted{}, errPropfind
	}
	switch {
	case p.Allprop != nil && p.Propname == nil && p.Prop == nil:
		w := wanted{all: true}
		if p.Include != nil {
			w.props = *p.Include
		}
		return w, nil
	case p.Include != nil:
		return wanted{}, errPropfind
	case p.Propname != nil && p.Prop == nil:
		return wanted{namesOnly: true}, nil
	case p.Prop != nil && p.Propname == nil && p.Allprop == nil:
		return wanted{props: *p.Prop}, nil
	}
	return wanted{}, errPropfind
}

// propNames are the names of the elements within an element, each once.
type propNames []xml.Name

func (p *propNames) UnmarshalXML(d *xml.Decoder, _ xml.StartElement) error {
	seen := map[xml.Name]bool{}
	for {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if strings.Contains(t.Name.Local, ":") {
				return errPropfind // XML, but not with namespaces
			}
			if !seen[t.Name] {
				*p = append(*p, t.Name)
			}
			if seen[t.Name] = true; len(seen) > propertiesMax {
				return refuse(http.StatusBadRequest, "too many properties")
			}
			if err := d.Skip(); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}
