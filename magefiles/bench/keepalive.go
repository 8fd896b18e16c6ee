package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strconv"

	"golang.org/x/sync/errgroup"

	"fuseless/guest/proto"
)

// keepAlive is a client that asks for small files over one connection. It does
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
	length := -1
	for first := true; ; first = false {
		line, err := k.r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if first {
			if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
				return proto.Errorf(proto.Different, "GET %s: %s", name, line)
			}
			continue
		}
		if field, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(field, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length != len(want) {
		return proto.Errorf(proto.Different, "GET %s: the length is %d and not %d", name, length, len(want))
	}
	if cap(k.body) < length {
		k.body = make([]byte, length)
	}
	body := k.body[:length]
	if _, err := io.ReadFull(k.r, body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if !bytes.Equal(body, want) {
		return proto.Errorf(proto.Different, "GET %s: what was read differs from the file", name)
	}
	return nil
}

// readMany reads so many files over so many connections, each asking for one
// after the other, of the names in turn. contents are those of the files.
func (c *davClient) readMany(ctx context.Context, conns, total int, names []string, contents [][]byte) error {
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
				if err := k.get(names[n%len(names)], contents[n%len(names)]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}
