package webdav

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	xmlMax      = 64 << 10 // bytes of an XML body; the largest that clients send are below 4 KiB
	xmlDepthMax = 32
	xmlTimeout  = 30 * time.Second // to receive it
)

// limitXML reads the body, which must be small, shallow and without a document
// type, and puts it back: parsers that recurse (x/net's does) can be killed by
// nesting. The size bounds what is scanned here, and the scanning does not recurse.
func limitXML(w http.ResponseWriter, r *http.Request) error {
	rc := http.NewResponseController(w)
	// An error means a ResponseWriter without deadlines, such as a test's.
	_ = rc.SetReadDeadline(time.Now().Add(xmlTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, xmlMax))
	_ = rc.SetReadDeadline(time.Time{})
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "the XML body exceeds 64 KiB")
	case err != nil:
		return refuse(http.StatusBadRequest, "the body ended early")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	dec := xml.NewDecoder(bytes.NewReader(body))
	depth := 0
	for {
		t, err := dec.RawToken()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return refuse(http.StatusBadRequest, "the body is not XML")
		}
		switch t.(type) {
		case xml.StartElement:
			if depth++; depth > xmlDepthMax {
				return refuse(http.StatusBadRequest, "the XML is nested too deeply")
			}
		case xml.EndElement:
			depth--
		case xml.Directive:
			return refuse(http.StatusBadRequest, "a document type is not accepted")
		}
	}
}
