//go:build linux

package gocryptfs

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path"
	"strings"
	"time"
)

// Names translates between plaintext and encrypted paths by asking the control
// socket of a mounted gocryptfs (gocryptfs(1), ctlsock package). It is not safe
// for concurrent use.
type Names struct {
	conn net.Conn
	dec  *json.Decoder
	dirs map[string]string // decrypted folders
}

// OpenNames connects to the control socket.
func OpenNames(ctx context.Context, socket string) (*Names, error) {
	var d net.Dialer
	// gocryptfs listens before it mounts, so the socket is there.
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to gocryptfs: %w", err)
	}
	return &Names{conn: conn, dec: json.NewDecoder(conn), dirs: map[string]string{}}, nil
}

// Close closes the connection.
func (n *Names) Close() error { return n.conn.Close() }

type ctlRequest struct {
	DecryptPath string `json:",omitempty"`
	EncryptPath string `json:",omitempty"`
}

type ctlResponse struct {
	Result  string
	ErrNo   int32
	ErrText string
}

func (n *Names) ask(r ctlRequest) (string, error) {
	// A path of 4096 bytes takes 5 KB; no answer within 10 s means that
	// gocryptfs hangs on its folder.
	_ = n.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := json.NewEncoder(n.conn).Encode(r); err != nil {
		return "", err
	}
	var resp ctlResponse
	if err := n.dec.Decode(&resp); err != nil {
		return "", err
	}
	if resp.ErrNo != 0 {
		return "", fmt.Errorf("gocryptfs: %s", resp.ErrText)
	}
	return resp.Result, nil
}

// Decrypt returns the plaintext of an encrypted path. ok is false for
// gocryptfs's own files (directory IVs, long names, its configuration) and for
// what cannot be decrypted.
//
// JSON cannot carry names that are not UTF-8; their bytes come back as U+FFFD.
// That is good enough for what it serves: messages.
func (n *Names) Decrypt(enc string) (plain string, ok bool) {
	enc = strings.TrimSuffix(enc, "/")
	if enc == "" || enc == "." {
		return ".", true
	}
	if Virtual(enc) {
		return "", false
	}
	if p, ok := n.dirs[enc]; ok {
		return p, true
	}
	p, err := n.ask(ctlRequest{DecryptPath: enc})
	if err != nil {
		return "", false
	}
	if len(n.dirs) < 4096 {
		n.dirs[enc] = p
	}
	return p, true
}

// Encrypt returns the encrypted form of a plaintext path.
func (n *Names) Encrypt(plain string) (string, error) { return n.ask(ctlRequest{EncryptPath: plain}) }

// Virtual tells whether an encrypted path is one of gocryptfs's own files and
// not one of the user's.
func Virtual(enc string) bool {
	b := path.Base(enc)
	return b == ConfigName || b == DirIVName ||
		strings.HasPrefix(b, longNamePrefix) && strings.HasSuffix(b, longNameSuffix)
}
