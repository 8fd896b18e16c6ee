// Package remote is how the guest reaches the remote: it has no key, agent or
// known_hosts of its own. It asks the host, over a unix socket, for one of two
// services at the one destination that the host has configured, and the host's
// own ssh makes the connection (design rule 7). This package is the wire
// format and the guest's end; fuseless/magefiles/bridge is the host's end.
//
// One connection is one session. The client sends a line of JSON, the Request,
// and then the raw bytes of standard input until it closes its writing half.
// The server answers with frames: one byte of kind, four bytes of length
// (big-endian), the payload. The last frame carries the Exit. So standard
// error and the exit status, which rsync needs, survive one byte stream, and
// so does the half-close, without which rsync and sftp-server do not end.
package remote

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"fuseless/guest/proto"
)

// The services that a Request may name.
const (
	ServiceSFTP  = "sftp"
	ServiceRsync = "rsync"
)

// TrashPath, as the path of an rsync request, means the vault's trash folder
// on the remote; TrashPath + "/" + a stamp such as 20261123T154500Z means one
// run's folder in it. Every other path means the vault, whatever it says,
// but a path that begins with "@" and is none of these is refused. To read
// (rsync --sender), the path must be empty or end in a slash.
const TrashPath = "@trash"

// ExitLost is the exit status of a session that has none: it could not begin,
// or its connection broke. It is the status by which ssh says the same (ssh(1)).
const ExitLost = 255

const (
	maxRequest = 64 << 10  // bytes of a request line
	maxFrame   = 1 << 20   // bytes of a frame's payload
	bufferSize = 128 << 10 // bytes per copy: a larger one is not faster
)

// Request asks for a session.
type Request struct {
	Service string   `json:"service"`
	Args    []string `json:"args,omitempty"` // of rsync, beginning with --server
}

// Exit is how a session ended.
type Exit struct {
	Code  int        `json:"code"`            // exit status of ssh, so of the remote command
	Kind  proto.Code `json:"kind,omitempty"`  // class of Error
	Error string     `json:"error,omitempty"` // empty if Code says all
	Hint  string     `json:"hint,omitempty"`
}

// Err is the failure that e describes, or nil. An rsync that ends with 23 is
// not one: its client knows what the status means.
func (e Exit) Err() error {
	if e.Error == "" {
		return nil
	}
	kind := e.Kind
	if kind == proto.OK {
		kind = proto.Remote
	}
	return &proto.Error{Code: kind, Message: e.Error, Hint: e.Hint}
}

// ExitOf is the Exit for err with the exit status code.
func ExitOf(code int, err error) Exit {
	e := Exit{Code: code}
	if err == nil {
		return e
	}
	e.Kind, e.Error = proto.CodeOf(err), err.Error()
	var p *proto.Error
	if errors.As(err, &p) {
		e.Error, e.Hint = p.Message, p.Hint
	}
	return e
}

// kind says what a frame holds.
type kind byte

const (
	frameStdout kind = 1
	frameStderr kind = 2
	frameExit   kind = 3
)

// writeRequest sends req.
func writeRequest(w io.Writer, req Request) error {
	b, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if len(b)+1 > maxRequest {
		return fmt.Errorf("request of %d bytes exceeds %d", len(b)+1, maxRequest)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// NewReader is the buffered reader from which the server reads a request
// and then standard input.
func NewReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, bufferSize) }

// ReadRequest reads the request line; what follows in r is standard input.
func ReadRequest(r *bufio.Reader) (Request, error) {
	var line []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return Request{}, fmt.Errorf("read request: %w", err)
		}
		if b == '\n' {
			break
		}
		if line = append(line, b); len(line) >= maxRequest {
			return Request{}, fmt.Errorf("request exceeds %d bytes", maxRequest)
		}
	}
	var req Request
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return Request{}, fmt.Errorf("request is not valid: %w", err)
	}
	if d.More() {
		return Request{}, errors.New("request is not valid: more than one value")
	}
	return req, nil
}

// FrameWriter is the server's end of a session. Its methods may be called by
// several goroutines.
type FrameWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// NewFrameWriter writes frames to w.
func NewFrameWriter(w io.Writer) *FrameWriter { return &FrameWriter{w: w} }

// CopyStdout copies r to the session's standard output until r ends. The
// error is that of reading or of writing; wrote tells which.
func (f *FrameWriter) CopyStdout(r io.Reader) (wrote bool, err error) {
	return f.copy(frameStdout, r)
}

// CopyStderr is CopyStdout for standard error.
func (f *FrameWriter) CopyStderr(r io.Reader) (wrote bool, err error) {
	return f.copy(frameStderr, r)
}

// Stderr writes p, at most 1 MiB, to the session's standard error.
func (f *FrameWriter) Stderr(p []byte) error {
	return f.frame(frameStderr, append(make([]byte, header), p...))
}

// Exit ends the session.
func (f *FrameWriter) Exit(e Exit) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return f.frame(frameExit, append(make([]byte, header), b...))
}

// header is the size of a frame before its payload: kind and length.
const header = 5

func (f *FrameWriter) copy(k kind, r io.Reader) (wrote bool, err error) {
	buf := make([]byte, header+bufferSize)
	for {
		n, err := r.Read(buf[header:])
		if n > 0 {
			if werr := f.frame(k, buf[:header+n]); werr != nil {
				return false, werr
			}
		}
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return true, err
		}
	}
}

// frame writes b, whose first bytes are room for the header, in one write.
func (f *FrameWriter) frame(k kind, b []byte) error {
	n := len(b) - header
	if n > maxFrame {
		return fmt.Errorf("frame of %d bytes exceeds %d", n, maxFrame)
	}
	b[0] = byte(k)
	binary.BigEndian.PutUint32(b[1:], uint32(n))
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(b)
	return err
}
