package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

const (
	// maxDepth stops the walk in a server that follows a symlink round and
	// round; the kernel ends such a path only after 40 rounds (ELOOP).
	maxDepth = 64
	// maxListing bounds the listing of one folder, in bytes.
	maxListing = 256 << 20
)

// WebDAV takes a snapshot of the collection at baseURL, with Basic
// authentication unless user is empty. It knows kind (file or dir), size,
// content and mtime in whole seconds; names are the bytes that the hrefs encode.
//
// It is strict. A listing that is not what RFC 4918 asks for (malformed XML, a
// missing property, an href that is badly encoded, foreign, or listed twice) is
// an error. A folder or file that the server refuses, or whose body is not as
// long as its getcontentlength, has an Err, and is a difference.
func WebDAV(ctx context.Context, baseURL, user, password string) (Tree, error) {
	base, err := url.Parse(baseURL)
	if err != nil {
		return Tree{}, fmt.Errorf("webdav snapshot: %w", err)
	}
	transport := &http.Transport{ // no proxy, no transparent decompression
		DisableCompression: true, MaxIdleConnsPerHost: hashers + 1,
	}
	defer transport.CloseIdleConnections()
	c := &davClient{
		ctx: ctx, base: base, user: user, password: password,
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a redirect is a wrong answer
		}},
		tree:  newTree(Missing, Extra, Unreadable, KindOf, Size, Content, MTime),
		files: make(chan job),
	}
	var reading sync.WaitGroup
	for range hashers {
		reading.Go(func() {
			for j := range c.files {
				j.entry.Sum, j.entry.Err = addErr("", func() (string, error) { return c.get(j.path, j.entry.Size) })
			}
		})
	}
	err = c.walk(".", 0)
	close(c.files)
	reading.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Tree{}, fmt.Errorf("webdav snapshot: %w", err)
	}
	return c.tree, nil
}

type davClient struct {
	ctx            context.Context
	base           *url.URL
	user, password string
	http           *http.Client
	tree           Tree
	files          chan job
}

// walk lists folder rel, and enters the folders in it.
func (c *davClient) walk(rel string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%q: deeper than %d folders: a loop of symlinks on the server?", rel, maxDepth)
	}
	entries, err := c.list(rel)
	var refused *refusedError
	if errors.As(err, &refused) && rel != "." {
		c.tree.Entries[rel].Err = err.Error()
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing %q: %w", rel, err)
	}
	self := entries["."]
	if self.Kind != Dir {
		return fmt.Errorf("listing %q: lists itself as a %s", rel, self.Kind)
	}
	if rel == "." {
		c.tree.Entries["."] = self
	}
	delete(entries, ".")
	for name, e := range entries {
		p := join(rel, name)
		c.tree.Entries[p] = e
		if e.Kind == Dir {
			if err := c.walk(p, depth+1); err != nil {
				return err
			}
			continue
		}
		select {
		case c.files <- job{p, e}:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
	return nil
}

// refusedError is a status that refuses a request as a whole.
type refusedError struct{ method, status string }

func (e *refusedError) Error() string { return e.method + ": " + e.status }

func (c *davClient) do(method, rel string, body io.Reader, dir bool) (*http.Response, error) {
	u := *c.base
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	if rel != "." {
		for _, name := range strings.Split(rel, "/") {
			path += "/" + url.PathEscape(name)
		}
	}
	if dir {
		path += "/"
	}
	u.RawPath = path
	var err error
	if u.Path, err = url.PathUnescape(path); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(c.ctx, method, u.String(), body)
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
	return c.http.Do(req)
}

// get is the SHA-256 of the file at rel, which must have size bytes.
func (c *davClient) get(rel string, size int64) (string, error) {
	resp, err := c.do(http.MethodGet, rel, nil, false)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode != http.StatusOK:
		return "", &refusedError{"GET", resp.Status}
	case resp.ContentLength >= 0 && resp.ContentLength != size:
		return "", fmt.Errorf("GET: Content-Length is %d, getcontentlength %d", resp.ContentLength, size)
	case resp.Header.Get("Content-Encoding") != "":
		return "", fmt.Errorf("GET: unasked Content-Encoding %q", resp.Header.Get("Content-Encoding"))
	}
	return hash(c.ctx, io.LimitReader(resp.Body, size+1), size)
}

// list is what PROPFIND with Depth 1 says about folder rel, by name; the folder
// itself is ".".
func (c *davClient) list(rel string) (map[string]*Entry, error) {
	resp, err := c.do("PROPFIND", rel, strings.NewReader(propfind), true)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMultiStatus {
		return nil, &refusedError{"PROPFIND", resp.Status}
	}
	if t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || (t != "application/xml" && t != "text/xml") {
		return nil, fmt.Errorf("Content-Type %q is not XML", resp.Header.Get("Content-Type"))
	}
	responses, err := parseMultistatus(io.LimitReader(resp.Body, maxListing))
	if err != nil {
		return nil, err
	}
	entries := map[string]*Entry{}
	for _, r := range responses {
		name, err := c.name(rel, r.Href)
		if err != nil {
			return nil, err
		}
		if entries[name] != nil {
			return nil, fmt.Errorf("%q is listed twice", r.Href)
		}
		if entries[name], err = r.entry(); err != nil {
			return nil, fmt.Errorf("%q: %w", r.Href, err)
		}
	}
	if entries["."] == nil {
		return nil, errors.New("the folder itself is not listed")
	}
	return entries, nil
}

// name is the name in folder rel that href means, or "." for the folder itself.
func (c *davClient) name(rel, href string) (string, error) {
	path := href
	if !strings.HasPrefix(href, "/") { // an absolute URI
		rest, ok := strings.CutPrefix(href, c.base.Scheme+"://"+c.base.Host)
		if !ok || !strings.HasPrefix(rest, "/") {
			return "", fmt.Errorf("href %q is not on this server", href)
		}
		path = rest
	}
	names, err := decodePath(path)
	if err != nil {
		return "", fmt.Errorf("href %q: %w", href, err)
	}
	parents, err := decodePath(c.base.EscapedPath())
	if err != nil {
		return "", err
	}
	if rel != "." {
		parents = append(parents, strings.Split(rel, "/")...)
	}
	switch {
	case len(names) < len(parents) || len(names) > len(parents)+1 || !slices.Equal(names[:len(parents)], parents):
		return "", fmt.Errorf("href %q is not in the folder", href)
	case len(names) == len(parents):
		return ".", nil
	}
	return names[len(parents)], nil
}
