package bench

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"

	"fuseless/guest/proto"
)

// What a client asks a folder for: macOS before it lists one
// (webdav_propfind, Apple's webdavfs), and "everything" (RFC 4918, 9.1).
const (
	macOS = `<?xml version="1.0" encoding="utf-8"?>
<D:propfind xmlns:D="DAV:"><D:prop><D:getlastmodified/><D:getcontentlength/><D:creationdate/><D:resourcetype/></D:prop></D:propfind>`
	allprop = `<?xml version="1.0" encoding="utf-8"?>
<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>`
)

// dialer is how a client comes to a server.
type dialer func(ctx context.Context, addr string) (net.Conn, error)

// davClient asks one server, over one connection as long as it asks one thing
// after the other.
type davClient struct {
	addr           string
	user, password string
	few            bool // it asks for a tenth, where the whole takes minutes
	dial           dialer
	http           *http.Client
}

func newDavClient(dial dialer, addr, user, password string) *davClient {
	return &davClient{addr: addr, user: user, password: password, dial: dial, http: &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, addr string) (net.Conn, error) { return dial(ctx, addr) },
		DisableCompression: true,
	}}}
}

func (c *davClient) close() { c.http.CloseIdleConnections() }

func (c *davClient) do(ctx context.Context, method, name, body string, want int) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: c.addr, Path: "/" + name}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.user != "" {
		req.SetBasicAuth(c.user, c.password)
	}
	if method == "PROPFIND" {
		req.Header.Set("Depth", "1")
		req.Header.Set("Content-Type", "application/xml; charset=utf-8")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		resp.Body.Close()
		return nil, proto.Errorf(proto.Different, "%s %s: %s", method, name, resp.Status)
	}
	return resp, nil
}

// list asks for a folder and what is in it, and returns the answer, whole.
func (c *davClient) list(ctx context.Context, folder, ask string) ([]byte, error) {
	var b bytes.Buffer
	err := c.listInto(ctx, &b, folder, ask)
	return b.Bytes(), err
}

// listInto is list into b, which is emptied before and, used again, need not grow
// again.
func (c *davClient) listInto(ctx context.Context, b *bytes.Buffer, folder, ask string) error {
	b.Reset()
	resp, err := c.do(ctx, "PROPFIND", folder+"/", ask, http.StatusMultiStatus)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = b.ReadFrom(resp.Body)
	return err
}

// listed are the files of an answer to list, with their sizes, and the folders.
func listed(answer []byte, folder string) (files map[string]int64, folders []string, err error) {
	var m struct {
		XMLName   xml.Name `xml:"DAV: multistatus"`
		Responses []struct {
			Href  string `xml:"DAV: href"`
			Props []struct {
				Status string    `xml:"DAV: status"`
				Folder *struct{} `xml:"DAV: prop>resourcetype>collection"`
				Size   *int64    `xml:"DAV: prop>getcontentlength"`
			} `xml:"DAV: propstat"`
		} `xml:"DAV: response"`
	}
	if err := xml.Unmarshal(answer, &m); err != nil {
		return nil, nil, err
	}
	files = map[string]int64{}
	for _, r := range m.Responses {
		u, err := url.Parse(r.Href)
		if err != nil {
			return nil, nil, err
		}
		name, isFolder, size := strings.Trim(u.Path, "/"), false, int64(-1)
		for _, p := range r.Props {
			if f := strings.Fields(p.Status); len(f) < 2 || f[1] != "200" {
				continue
			}
			isFolder = isFolder || p.Folder != nil
			if p.Size != nil {
				size = *p.Size
			}
		}
		switch {
		case name == folder:
		case path.Dir(name) != folder:
			return nil, nil, fmt.Errorf("%q is not in %q", name, folder)
		case isFolder:
			folders = append(folders, name)
		default:
			files[name] = size
		}
	}
	return files, folders, nil
}

// get reads a file, and is an error if it is not what it is to be.
func (c *davClient) get(ctx context.Context, name string, want []byte) error {
	resp, err := c.do(ctx, http.MethodGet, name, "", http.StatusOK)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return equal(resp.Body, want)
}

// equal reads r to its end, and is an error if it is not want.
func equal(r io.Reader, want []byte) error {
	buf := make([]byte, 256<<10)
	for at := 0; ; {
		n, err := r.Read(buf)
		if n > len(want)-at || !bytes.Equal(buf[:n], want[at:at+n]) {
			return proto.Errorf(proto.Different, "what was read differs from the file within the %d bytes after the first %d", n, at)
		}
		at += n
		switch {
		case err == io.EOF && at == len(want):
			return nil
		case err == io.EOF:
			return proto.Errorf(proto.Different, "only %d of %d bytes were read", at, len(want))
		case err != nil:
			return err
		}
	}
}
