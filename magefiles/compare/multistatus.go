package compare

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The three properties that a snapshot needs (RFC 4918, section 15).
const propfind = `<?xml version="1.0" encoding="utf-8"?>
<propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/><getlastmodified/></prop></propfind>`

type multistatus struct {
	XMLName   xml.Name      `xml:"DAV: multistatus"`
	Responses []davResponse `xml:"DAV: response"`
}

type davResponse struct {
	Href      string `xml:"DAV: href"`
	Status    string `xml:"DAV: status"`
	Propstats []struct {
		Status string `xml:"DAV: status"`
		Prop   struct {
			Type *struct {
				Collection *struct{} `xml:"DAV: collection"`
			} `xml:"DAV: resourcetype"`
			Length   *string `xml:"DAV: getcontentlength"`
			Modified *string `xml:"DAV: getlastmodified"`
		} `xml:"DAV: prop"`
	} `xml:"DAV: propstat"`
}

// parseMultistatus reads one complete multistatus document and nothing after it.
func parseMultistatus(r io.Reader) ([]davResponse, error) {
	dec := xml.NewDecoder(r)
	var m multistatus
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("malformed multistatus: %w", err)
	}
	for {
		t, err := dec.Token()
		if err == io.EOF {
			return m.Responses, nil
		}
		if err != nil {
			return nil, fmt.Errorf("malformed multistatus: %w", err)
		}
		if text, ok := t.(xml.CharData); !ok || strings.TrimSpace(string(text)) != "" {
			return nil, errors.New("malformed multistatus: more after its end")
		}
	}
}

// entry is what the properties with status 200 say.
func (r *davResponse) entry() (*Entry, error) {
	if r.Status != "" {
		return nil, fmt.Errorf("status %q instead of properties", r.Status)
	}
	e := &Entry{Kind: Unknown}
	var length, modified *string
	for _, ps := range r.Propstats {
		if f := strings.Fields(ps.Status); len(f) < 2 || f[1] != "200" {
			continue
		}
		if t := ps.Prop.Type; t != nil {
			if e.Kind = File; t.Collection != nil {
				e.Kind = Dir
			}
		}
		if ps.Prop.Length != nil {
			length = ps.Prop.Length
		}
		if ps.Prop.Modified != nil {
			modified = ps.Prop.Modified
		}
	}
	if e.Kind == Unknown {
		return nil, errors.New("no resourcetype")
	}
	if modified == nil {
		return nil, errors.New("no getlastmodified")
	}
	var err error
	if e.MTime, err = time.Parse(http.TimeFormat, *modified); err != nil {
		return nil, fmt.Errorf("getlastmodified: %w", err)
	}
	if e.Kind == File {
		if length == nil {
			return nil, errors.New("no getcontentlength")
		}
		if e.Size, err = strconv.ParseInt(*length, 10, 64); err != nil || e.Size < 0 {
			return nil, fmt.Errorf("getcontentlength %q is not a length", *length)
		}
	}
	return e, nil
}

// decodePath is the names in the path of an href, as bytes. It refuses what RFC
// 3986, section 3.3 does not allow in a path (bytes above 127, spaces, ? and #
// among them) and what no file can be called.
func decodePath(path string) ([]string, error) {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if path == "" {
		return nil, nil
	}
	for i := range len(path) {
		if b := path[i]; !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' ||
			strings.IndexByte("/-._~!$&'()*+,;=:@%", b) >= 0) {
			return nil, errors.New("not percent-encoded")
		}
	}
	names := strings.Split(path, "/")
	for i, part := range names {
		name, err := url.PathUnescape(part)
		if err != nil {
			return nil, err
		}
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return nil, fmt.Errorf("no file can be called %q", name)
		}
		names[i] = name
	}
	return names, nil
}
