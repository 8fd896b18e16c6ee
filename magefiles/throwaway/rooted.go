package throwaway

import (
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
)

// rooted makes the relative paths in a client's sftp packets begin at root.
// The working directory of pkg/sftp's server (v1.13.12) does so too, but also
// for the target of a symbolic link, which then differs from the one the
// client set, and not for hardlink@openssh.com and statvfs@openssh.com.
type rooted struct {
	io.ReadWriteCloser
	root    string
	pending []byte // of a rewritten packet
	pass    int    // bytes of a packet that goes through as it is
}

// Packet types of draft-ietf-secsh-filexfer-02 that carry paths.
const (
	fxpOpen     = 3
	fxpLstat    = 7
	fxpSetstat  = 9
	fxpOpendir  = 11
	fxpRemove   = 13
	fxpMkdir    = 14
	fxpRmdir    = 15
	fxpRealpath = 16
	fxpStat     = 17
	fxpRename   = 18
	fxpReadlink = 19
	fxpSymlink  = 20 // OpenSSH's order: target, link
	fxpExtended = 200
)

// maxPathPacket bounds a packet that is held in memory, in bytes. OpenSSH's
// own bound on any packet is the same (sftp-common.h).
const maxPathPacket = 256 << 10

func (r *rooted) Read(p []byte) (int, error) {
	for len(r.pending) == 0 && r.pass == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	if len(r.pending) > 0 {
		n := copy(p, r.pending)
		r.pending = r.pending[n:]
		return n, nil
	}
	n, err := r.ReadWriteCloser.Read(p[:min(len(p), r.pass)])
	r.pass -= n
	return n, err
}

// next reads the head of a packet, and all of one that carries paths.
func (r *rooted) next() error {
	var head [5]byte // length, type
	if _, err := io.ReadFull(r.ReadWriteCloser, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > 1<<24 {
		return errors.New("sftp packet with an impossible length")
	}
	switch head[4] {
	case fxpOpen, fxpLstat, fxpSetstat, fxpOpendir, fxpRemove, fxpMkdir, fxpRmdir, fxpRealpath, fxpStat,
		fxpRename, fxpReadlink, fxpSymlink, fxpExtended:
	default:
		r.pending, r.pass = head[:], int(n-1)
		return nil
	}
	if n > maxPathPacket {
		return errors.New("sftp packet with too long a path")
	}
	body := make([]byte, n-1)
	if _, err := io.ReadFull(r.ReadWriteCloser, body); err != nil {
		return err
	}
	body, err := r.rewrite(head[4], body)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(head[:], uint32(len(body)+1))
	r.pending = append(head[:], body...)
	return nil
}

// rewrite makes the paths in body, which begins with the request's id, absolute.
func (r *rooted) rewrite(kind byte, body []byte) ([]byte, error) {
	if len(body) < 4 {
		return nil, errors.New("sftp packet without an id")
	}
	out, rest := append([]byte(nil), body[:4]...), body[4:]
	take := func(change bool) error {
		if len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.BigEndian.Uint32(rest)) {
			return errors.New("sftp packet with a cut string")
		}
		n := binary.BigEndian.Uint32(rest)
		s := string(rest[4 : 4+n])
		rest = rest[4+n:]
		if change {
			s = r.absolute(s)
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(s)))
		out = append(out, s...)
		return nil
	}
	var err error
	switch kind {
	case fxpRename:
		err = errors.Join(take(true), take(true))
	case fxpSymlink:
		err = errors.Join(take(false), take(true))
	case fxpExtended:
		name := string(rest[min(4, len(rest)):])
		err = take(false)
		switch {
		case err != nil:
		case hasName(name, "posix-rename@openssh.com"), hasName(name, "hardlink@openssh.com"):
			err = errors.Join(take(true), take(true))
		case hasName(name, "statvfs@openssh.com"):
			err = take(true)
		}
	default:
		err = take(true)
	}
	return append(out, rest...), err
}

func hasName(s, name string) bool { return len(s) >= len(name) && s[:len(name)] == name }

func (r *rooted) absolute(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return r.root + "/" + p // not cleaned: a/../b through a symlink is not b
}
