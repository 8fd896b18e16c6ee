package webdav

import (
	"encoding/xml"
	"net/http"
)

// xmlText is an XML element as text that can be put anywhere in a document: each element in
// it declares the namespaces that it and its attributes are in.
type xmlText []byte

// xmlTextMax bounds it, in bytes: namespaces that are declared for each element are more than
// the body has.
const xmlTextMax = 8 << 10

const xmlSpace = "http://www.w3.org/XML/1998/namespace" // the prefix xml is always bound to it

// UnmarshalXML reads the element that begins with start.
func (e *xmlText) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	b := appendStart(nil, start)
	open := []xml.Name{start.Name}
	for len(open) > 0 {
		t, err := d.Token()
		if err != nil {
			return err
		}
		if len(b) > xmlTextMax {
			return refuse(http.StatusRequestEntityTooLarge, "an XML element is too long to be kept")
		}
		switch t := t.(type) {
		case xml.StartElement:
			open = append(open, t.Name)
			b = appendStart(b, t)
		case xml.EndElement:
			b = appendEnd(b, open[len(open)-1])
			open = open[:len(open)-1]
		case xml.CharData:
			b = appendText(b, string(t))
		}
	}
	*e = b
	return nil
}

func appendStart(b []byte, e xml.StartElement) []byte {
	b = append(b, '<')
	if e.Name.Space == "" {
		b = append(append(b, e.Name.Local...), ` xmlns=""`...)
	} else {
		b = append(append(append(b, "x:"...), e.Name.Local...), ` xmlns:x="`...)
		b = append(appendText(b, e.Name.Space), '"')
	}
	spaces := 0
	for _, a := range e.Attr {
		switch {
		case a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns":
			continue // declared anew where it is needed
		case a.Name.Space == "":
			b = append(append(b, ' '), a.Name.Local...)
		case a.Name.Space == xmlSpace:
			b = append(append(b, " xml:"...), a.Name.Local...)
		default:
			prefix := "a" + string(rune('a'+spaces%26))
			for n := spaces / 26; n > 0; n /= 26 {
				prefix += string(rune('a' + n%26))
			}
			spaces++
			b = append(append(append(b, " xmlns:"...), prefix...), `="`...)
			b = append(appendText(b, a.Name.Space), '"', ' ')
			b = append(append(append(b, prefix...), ':'), a.Name.Local...)
		}
		b = append(append(b, `="`...), appendText(nil, a.Value)...)
		b = append(b, '"')
	}
	return append(b, '>')
}

func appendEnd(b []byte, name xml.Name) []byte {
	b = append(b, "</"...)
	if name.Space != "" {
		b = append(b, "x:"...)
	}
	return append(append(b, name.Local...), '>')
}
