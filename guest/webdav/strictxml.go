package webdav

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strings"
)

// strictXML decodes XML that keeps to XML Namespaces 1.0, of which encoding/xml lets pass what
// breaks the rules: what is kept of it is given to others, who would refuse it.
func strictXML(b []byte) *xml.Decoder {
	return xml.NewTokenDecoder(&strictNamespaces{dec: xml.NewDecoder(bytes.NewReader(b))})
}

var errNamespaces = refuse(http.StatusBadRequest, "the body breaks the rules for namespaces in XML")

// strictNamespaces is the TokenReader behind it. limitXML has bounded the depth.
type strictNamespaces struct {
	dec    *xml.Decoder
	scopes []map[string]string // of the open elements: URI by prefix
}

func (s *strictNamespaces) Token() (xml.Token, error) {
	t, err := s.dec.RawToken()
	switch t := t.(type) {
	case xml.StartElement:
		if !s.enter(t) {
			return nil, errNamespaces
		}
	case xml.EndElement:
		if len(s.scopes) > 0 {
			s.scopes = s.scopes[:len(s.scopes)-1]
		}
	}
	return t, err
}

// enter reports whether an element is right where it begins.
func (s *strictNamespaces) enter(e xml.StartElement) bool {
	scope := map[string]string{}
	for _, a := range e.Attr {
		if a.Name.Space != "xmlns" {
			continue
		}
		// A prefix is bound to something (section 5), and xml and xmlns are bound for good (section 3).
		if a.Value == "" || a.Name.Local == "xmlns" || (a.Name.Local == "xml") != (a.Value == xmlSpace) {
			return false
		}
		scope[a.Name.Local] = a.Value
	}
	s.scopes = append(s.scopes, scope)
	if !s.declared(e.Name) || e.Name.Space == "xml" || e.Name.Space == "xmlns" {
		return false
	}
	seen := map[xml.Name]bool{}
	for _, a := range e.Attr {
		name := a.Name
		if name.Space != "xmlns" {
			if !s.declared(name) {
				return false
			}
			name.Space = s.uri(name.Space)
		}
		if seen[name] { // section 6.3
			return false
		}
		seen[name] = true
	}
	return true
}

// declared reports whether a name has one prefix at most, which is bound.
func (s *strictNamespaces) declared(n xml.Name) bool {
	return n.Local != "" && !strings.Contains(n.Local, ":") && (n.Space == "" || n.Space == "xml" || s.uri(n.Space) != "")
}

func (s *strictNamespaces) uri(prefix string) string {
	if prefix == "" {
		return "" // attributes without a prefix are in no namespace
	}
	for i := len(s.scopes) - 1; i >= 0; i-- {
		if uri, ok := s.scopes[i][prefix]; ok {
			return uri
		}
	}
	if prefix == "xml" {
		return xmlSpace
	}
	return ""
}
