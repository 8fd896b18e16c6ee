package webdav

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// FuzzXML: no body makes a parser panic. What one takes is bounded, is XML that others can read
// wherever it is put, and is the same when it is read again.
func FuzzXML(f *testing.F) {
	for _, s := range []string{"", "<", lockInfo("shared"), lockInfo("exclusive"), macOSPropfind, removeNothing, `<propfind xmlns="DAV:"><allprop/><include><p:x xmlns:p="urn:p"/></include></propfind>`,
		`<propfind xmlns="DAV:"><propname/></propfind>`,
		propertyUpdateOf(`<D:set><D:prop xml:lang="de"><p:one q="&quot;" p:q="&#10;"><in xmlns="urn:q">&lt;2&amp;<![CDATA[<x>]]></in><!-- c --></p:one></D:prop></D:set>`),
		propertyUpdateOf(`<D:set><D:prop><a xmlns:b="urn:b" b:c="1"/><D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT</D:getlastmodified></D:prop></D:set>`),
		propertyUpdateOf(`<D:set><D:prop><p:one xmlns:q="urn:q" xmlns:r="urn:r" q:a="1" r:a="2" a="3"/></D:prop></D:set>`), propertyUpdateOf(`<D:remove><D:prop><a:b:c/><x xmlns:q=""/></D:prop></D:remove>`),
		`<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>`, strings.Repeat("<a>", 40), `<a xmlns:xml="urn:x"/>`, `<?xml version="1.0" encoding="latin1"?><a/>`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("PROPPATCH", "/f", strings.NewReader(body))
		if err := limitXML(httptest.NewRecorder(), r); err != nil {
			return
		}
		refused := func(err error) bool {
			if status := statusOf(err); err != nil && status != 400 && status != 413 {
				t.Errorf("%q: %d, %v", body, status, err)
			}
			return err != nil
		}
		b, _ := io.ReadAll(r.Body)
		if _, owner, err := readLockInfo(b); !refused(err) && len(owner) > 0 {
			sameElement(t, xmlText(owner))
		}
		if changes, err := readPropertyUpdate(strings.NewReader(body)); !refused(err) {
			if len(changes) > propertiesMax {
				t.Errorf("%d properties", len(changes))
			}
			var props []deadProp
			for _, c := range changes {
				sameElement(t, c.text)
				props = append(props, deadProp{c.name, c.text})
			}
			// As they are kept, one after the other.
			again, err := parseDeadProps(joinDeadProps(props))
			if err != nil || !slices.EqualFunc(props, again, func(a, b deadProp) bool { return a.name == b.name && string(a.text) == string(b.text) }) {
				t.Errorf("%q: it is kept as %q, which is %q (%v)", body, joinDeadProps(props), again, err)
			}
			w := httptest.NewRecorder()
			for i := range changes {
				changes[i].status = 200
			}
			writePatched(w, "f", named{name: "f", FileInfo: unknown{}}, changes)
			wellFormed(t, w.Body.String())
		}
		if asked, err := readPropfind(strings.NewReader(body)); !refused(err) {
			if len(asked.props) > propertiesMax {
				t.Errorf("%d properties", len(asked.props))
			}
			w := httptest.NewRecorder()
			m := newMultistatus(w, (&Server{opt: Options{ReadOnly: true}}).selection(context.Background(), asked, nil))
			m.write("f", "f", named{name: "f", FileInfo: unknown{}})
			if err := m.close(); err != nil {
				t.Error(err)
			}
			wellFormed(t, w.Body.String())
		}
	})
}

// sameElement: an element that is kept is well-formed by itself, within bounds, and stays as it is.
func sameElement(t *testing.T, e xmlText) {
	t.Helper()
	wellFormed(t, string(e))
	var again xmlText
	if err := xml.Unmarshal(e, &again); err != nil || string(again) != string(e) {
		t.Errorf("%q becomes %q (%v)", e, again, err)
	}
	if len(e) > xmlTextMax+xmlMax {
		t.Errorf("an element of %d bytes", len(e))
	}
}

// wellFormed: it is one element, and keeps to the rules for namespaces.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	dec := strictXML([]byte(text))
	depth, roots := 0, 0
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		switch token.(type) {
		case xml.StartElement:
			if depth++; depth == 1 {
				roots++
			}
		case xml.EndElement:
			depth--
		}
	}
	if depth != 0 || roots != 1 {
		t.Errorf("%q: %d elements, %d not ended", text, roots, depth)
	}
}
