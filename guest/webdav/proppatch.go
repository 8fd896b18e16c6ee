package webdav

import (
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"
)

// propChange is an instruction of a PROPPATCH.
type propChange struct {
	name   xml.Name
	remove bool
	text   xmlText
	status int // how it ended
}

// proppatch answers PROPPATCH (RFC 4918 9.2): all that it asks for is done, or nothing. The href
// of the answer is the name as it was asked for.
func (s *Server) proppatch(w http.ResponseWriter, r *http.Request, asked, name string) {
	changes, err := readPropertyUpdate(r.Body)
	if err != nil {
		fail(w, r, err)
		return
	}
	defer s.changing(name)()
	fi, err := s.fs.Stat(r.Context(), name)
	if err == nil {
		err = unmoved(r, s.thing, name)
	}
	if err == nil {
		err = s.preconditions(r, name, target{name: name})
	}
	if err == nil {
		err = s.patch(r, name, fi, changes)
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	writePatched(w, asked, fi, changes)
}

// patch carries the changes out, in order, and notes how each ended. An error is one of the
// whole request.
func (s *Server) patch(r *http.Request, name string, was fs.FileInfo, changes []propChange) (err error) {
	props, err := s.deadPropsOf(r.Context(), name)
	if err != nil {
		return err
	}
	var modTime time.Time
	before := len(joinDeadProps(props))
	dead, failed := false, false
	for i := range changes {
		c := &changes[i]
		c.status = http.StatusOK
		if c.name.Space == "DAV:" {
			if c.status = protected(c, &modTime); c.status != http.StatusOK {
				failed = true
			}
			continue
		}
		dead = true
		at := slices.IndexFunc(props, func(p deadProp) bool { return p.name == c.name })
		switch {
		case c.remove && at >= 0:
			props = slices.Delete(props, at, at+1)
		case c.remove: // removing what is not there is no error
		case at >= 0:
			props[at].text = c.text
		default:
			props = append(props, deadProp{c.name, c.text})
		}
	}
	b := joinDeadProps(props)
	if !failed && !modTime.IsZero() {
		if s.props == nil {
			return refuse(http.StatusForbidden, "times cannot be set here")
		}
		if err := s.props.SetModTime(r.Context(), name, modTime); err != nil {
			return err
		}
		defer func() {
			if failed || err != nil { // all or nothing
				_ = s.props.SetModTime(r.Context(), name, was.ModTime())
			}
		}()
	}
	if !failed && dead && (len(b) > 0 || before > 0) {
		status := http.StatusOK
		if _, perr := parseDeadProps(b); perr != nil {
			return errPropertyUpdate // it could not be read again
		}
		if len(b) > deadPropsMax {
			err = syscall.ENOSPC
		} else if err = errors.ErrUnsupported; s.props != nil {
			err = s.props.SetProperties(r.Context(), name, b)
		}
		switch {
		case err == nil:
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
			status = http.StatusInsufficientStorage
		case errors.Is(err, errors.ErrUnsupported), errors.Is(err, fs.ErrPermission):
			status = http.StatusForbidden // this file system keeps none
		default:
			return err
		}
		if failed = err != nil; failed {
			for i := range changes {
				if changes[i].name.Space != "DAV:" {
					changes[i].status = status
				}
			}
		}
	}
	for i := range changes {
		if failed && changes[i].status == http.StatusOK {
			changes[i].status = http.StatusFailedDependency
		}
	}
	return nil
}

// protected is the status for a change of a property of DAV:, which are the server's own. Only
// the modification time may be set.
func protected(c *propChange, modTime *time.Time) int {
	if c.name.Local != "getlastmodified" || c.remove {
		return http.StatusForbidden
	}
	var v struct {
		Value string `xml:",chardata"`
	}
	if err := xml.Unmarshal(c.text, &v); err != nil {
		return http.StatusConflict
	}
	t, err := http.ParseTime(strings.TrimSpace(v.Value))
	if err != nil || !storable(t) {
		return http.StatusConflict // no value for it (9.2.1)
	}
	*modTime = t
	return http.StatusOK
}

// writePatched writes the answer (RFC 4918 9.2.2), without values.
func writePatched(w http.ResponseWriter, name string, fi fs.FileInfo, changes []propChange) {
	b := appendHref([]byte(`<D:multistatus xmlns:D="DAV:"><D:response><D:href>`), name, fi.IsDir())
	b = append(b, "</D:href>"...)
	for _, status := range []int{http.StatusOK, http.StatusForbidden, http.StatusConflict, http.StatusFailedDependency, http.StatusInsufficientStorage} {
		var props []byte
		for _, c := range changes {
			if c.status == status {
				props = appendEnd(appendStart(props, xml.StartElement{Name: c.name}), c.name)
			}
		}
		if len(props) > 0 {
			b = appendPropstat(b, props, statusLine[status])
		}
	}
	writeXML(w, http.StatusMultiStatus, string(append(b, "</D:response></D:multistatus>"...)))
}

var statusLine = map[int]string{
	http.StatusOK:                  "200 OK",
	http.StatusForbidden:           "403 Forbidden",
	http.StatusConflict:            "409 Conflict",
	http.StatusFailedDependency:    "424 Failed Dependency",
	http.StatusInsufficientStorage: "507 Insufficient Storage",
}

var errPropertyUpdate = refuse(http.StatusBadRequest, "the body is not a propertyupdate element as RFC 4918 has it")

// readPropertyUpdate parses the body (RFC 4918 14.19), which limitXML has seen. The order counts.
func readPropertyUpdate(body io.Reader) ([]propChange, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	var u propertyUpdate
	dec := strictXML(b)
	if err := dec.Decode(&u); err != nil || len(u) == 0 {
		var ref *refusal
		if errors.As(err, &ref) {
			return nil, ref
		}
		return nil, errPropertyUpdate
	}
	return u, nil
}

type propertyUpdate []propChange

func (u *propertyUpdate) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	if start.Name != (xml.Name{Space: "DAV:", Local: "propertyupdate"}) {
		return errPropertyUpdate
	}
	return eachElement(d, func(instruction xml.StartElement) error {
		if instruction.Name.Space != "DAV:" || instruction.Name.Local != "set" && instruction.Name.Local != "remove" {
			return d.Skip() // to be ignored (RFC 4918 17)
		}
		return eachElement(d, func(prop xml.StartElement) error {
			if prop.Name != (xml.Name{Space: "DAV:", Local: "prop"}) {
				return d.Skip()
			}
			return eachElement(d, func(e xml.StartElement) error {
				if strings.Contains(e.Name.Local, ":") { // XML, but not with namespaces
					return errPropertyUpdate
				}
				c := propChange{name: e.Name, remove: instruction.Name.Local == "remove"}
				e.Attr = append(e.Attr, language(e, prop)...)
				if *u = append(*u, c); len(*u) > propertiesMax {
					return refuse(http.StatusBadRequest, "too many properties")
				}
				return (*u)[len(*u)-1].text.UnmarshalXML(d, e)
			})
		})
	})
}

// language is the xml:lang that an element has from the one that it is in (RFC 4918 4.3).
func language(e, outer xml.StartElement) []xml.Attr {
	lang := func(a xml.Attr) bool { return a.Name.Local == "lang" && a.Name.Space == xmlSpace }
	if i := slices.IndexFunc(outer.Attr, lang); i >= 0 && !slices.ContainsFunc(e.Attr, lang) {
		return outer.Attr[i : i+1]
	}
	return nil
}

// eachElement calls f, which is to read it, for each element in the one that d is in, and reads
// the end of that.
func eachElement(d *xml.Decoder, f func(xml.StartElement) error) error {
	for {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if err := f(t); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}
