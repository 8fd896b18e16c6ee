package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"fuseless/guest/proto"
)

// keepAlive is a client that asks for files, or puts them, over one connection. It does
// nothing else, as on the same machine what it does takes from the server: net/http's
// client takes more than the servers do.
type keepAlive struct {
	conn   net.Conn
	r      *bufio.Reader
	header string // of each request, from its second line on
	body   []byte
}

func (c *davClient) keepAlive(ctx context.Context) (*keepAlive, error) {
	conn, err := c.dial(ctx, c.addr)
	if err != nil {
		return nil, err
	}
	header := "Host: " + c.addr + "\r\n"
	if c.user != "" {
		header += "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(c.user+":"+c.password)) + "\r\n"
	}
	return &keepAlive{conn: conn, r: bufio.NewReaderSize(conn, 16<<10), header: header + "\r\n"}, nil
}

// get reads a file, and is an error if it is not what it is to be. name is a part of an URL.
func (k *keepAlive) get(name string, want []byte) error {
	if _, err := io.WriteString(k.conn, "GET /"+name+" HTTP/1.1\r\n"+k.header); err != nil {
		return err
	}
	length, err := k.head("GET", name, "200")
	if err != nil {
		return err
	}
	if length != len(want) {
		return proto.Errorf(proto.Different, "GET %s: the length is %d and not %d", name, length, len(want))
	}
	body, err := k.rest(length)
	if err != nil {
		return err
	}
	if !bytes.Equal(body, want) {
		return proto.Errorf(proto.Different, "GET %s: what was read differs from the file", name)
	}
	return nil
}

// put makes, or replaces, a file: size bytes of the pattern, over and over.
func (k *keepAlive) put(name string, pattern []byte, size int64) error {
	part := func() []byte { return pattern[:min(int64(len(pattern)), size)] }
	first := net.Buffers{fmt.Appendf(nil, "PUT /%s HTTP/1.1\r\nContent-Length: %d\r\n%s", name, size, k.header), part()}
	size -= int64(len(first[1]))
	if _, err := first.WriteTo(k.conn); err != nil {
		return err
	}
	for size > 0 {
		n, err := k.conn.Write(part())
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	length, err := k.head("PUT", name, "201", "204")
	if err == nil && length > 0 {
		_, err = k.rest(length)
	}
	return err
}

// head reads the head of an answer whose status is to be one of want. It returns the length of
// what follows, -1: it is not said.
func (k *keepAlive) head(method, name string, want ...string) (length int, err error) {
	length = -1
	for first := true; ; first = false {
		line, err := k.r.ReadSlice('\n')
		if err != nil {
			return 0, fmt.Errorf("read the answer: %w", err)
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			return length, nil
		}
		if first {
			if f := strings.Fields(string(line)); len(f) < 2 || f[0] != "HTTP/1.1" || !slices.Contains(want, f[1]) {
				return 0, proto.Errorf(proto.Different, "%s %s: %s", method, name, line)
			}
			continue
		}
		if field, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(field, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
}

// rest reads the body of an answer. It is overwritten by the next one.
func (k *keepAlive) rest(length int) ([]byte, error) {
	if cap(k.body) < length {
		k.body = make([]byte, length)
	}
	if _, err := io.ReadFull(k.r, k.body[:length]); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return k.body[:length], nil
}

// readMany reads so many files over so many connections, each asking for one
// after the other, of the names in turn. contents are those of the files.
func (c *davClient) readMany(ctx context.Context, conns, total int, names []string, contents [][]byte) error {
	return c.many(ctx, conns, total, func(k *keepAlive, n int) error {
		return k.get(names[n%len(names)], contents[n%len(names)])
	})
}

// putOne puts a file over a connection of its own; see keepAlive.put.
func (c *davClient) putOne(ctx context.Context, name string, pattern []byte, size int64) error {
	return c.many(ctx, 1, 1, func(k *keepAlive, _ int) error { return k.put(name, pattern, size) })
}

// many does so many things over so many connections, each doing one after the other.
func (c *davClient) many(ctx context.Context, conns, total int, do func(k *keepAlive, n int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range conns {
		g.Go(func() error {
			k, err := c.keepAlive(ctx)
			if err != nil {
				return err
			}
			defer k.conn.Close()
			defer context.AfterFunc(ctx, func() { k.conn.Close() })()
			for n := i; n < total; n += conns {
				if err := do(k, n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}
