package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"fuseless/guest/proto"
)

// counterName is the name of a counter; see Become.
const counterName = "fuseless-sftp-counter"

// sftpServers are where OpenSSH's server is, in Debian, Fedora and Arch.
var sftpServers = []string{"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"}

// sftpCounts is what counters count, all of them in one file that they have in
// memory.
type sftpCounts struct {
	requests atomic.Int64
	// rounds are the requests that came when all before them were answered: so
	// often somebody waited for a whole round trip.
	rounds atomic.Int64

	writes, written atomic.Int64 // WRITEs, and the bytes in them
	syncs           atomic.Int64 // fsync@openssh.com
}

// add counts a packet of size bytes without its length, of which peek shows the first ones.
func (c *sftpCounts) add(kind byte, size int64, peek func(n int) []byte) {
	c.requests.Add(1)
	switch kind {
	case sftpWrite: // kind, id, handle with its length, offset, data with its length
		const head = 1 + 4 + 4
		if b := peek(head); len(b) == head {
			c.writes.Add(1)
			c.written.Add(size - head - int64(binary.BigEndian.Uint32(b[5:])) - 8 - 4)
		}
	case sftpExtended: // kind, id, name with its length
		if b := peek(1 + 4 + 4 + len(sftpFsync)); strings.HasSuffix(string(b), sftpFsync) {
			c.syncs.Add(1)
		}
	}
}

// openCounts maps the file of the counts, and makes it if it is not there. It
// stays mapped for as long as the process lives.
func openCounts(path string) (*sftpCounts, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const size = int(unsafe.Sizeof(sftpCounts{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the counts: %w", err)
	}
	return (*sftpCounts)(unsafe.Pointer(unsafe.SliceData(b))), nil
}

// beCounter is what sshd runs for sftp: OpenSSH's sftp-server with somebody who
// counts in front of it. Its argument is the file of the counts.
func beCounter() error {
	if len(os.Args) != 2 {
		return errors.New("the file of the counts is needed")
	}
	c, err := openCounts(os.Args[1])
	if err != nil {
		return err
	}
	server, err := sftpServer()
	if err != nil {
		return err
	}
	return c.serve(exec.Command(server), os.Stdin, os.Stdout)
}

func sftpServer() (string, error) {
	for _, p := range sftpServers {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", proto.Errorf(proto.Prerequisite, "there is no sftp-server of OpenSSH in %v", sftpServers).
		WithHint("install it: `apt-get install openssh-sftp-server`")
}

// serve runs server and carries its packets, until the client ends.
func (c *sftpCounts) serve(server *exec.Cmd, from io.Reader, to io.Writer) error {
	in, err := server.StdinPipe()
	if err != nil {
		return err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		return err
	}
	var waiting atomic.Int64 // for answers
	go func() {
		defer in.Close()
		_ = eachPacket(in, from, func(kind byte, size int64, peek func(int) []byte) {
			if kind == sftpInit {
				return
			}
			c.add(kind, size, peek)
			if waiting.Add(1) == 1 {
				c.rounds.Add(1)
			}
		})
	}()
	err = eachPacket(to, out, func(kind byte, size int64, peek func(int) []byte) {
		if kind != sftpVersion {
			waiting.Add(-1)
		}
	})
	if werr := server.Wait(); err == nil {
		err = werr
	}
	return err
}

// Kinds of packets (draft-ietf-secsh-filexfer-02, section 3). Those of the greeting are no
// request and no answer.
const (
	sftpInit     = 1
	sftpVersion  = 2
	sftpWrite    = 6
	sftpExtended = 200

	sftpFsync = "fsync@openssh.com" // OpenSSH's PROTOCOL, section 4.9
)

// eachPacket copies SFTP packets, a length in four bytes and a kind in one
// before the rest, and tells saw of each, with the size that the length says, before it goes
// on. peek is the packet's first n bytes without the length, or all if there are fewer. Packets
// that come together go on together.
func eachPacket(w io.Writer, r io.Reader, saw func(kind byte, size int64, peek func(n int) []byte)) error {
	from, to := bufio.NewReaderSize(r, 64<<10), bufio.NewWriterSize(w, 64<<10)
	var length [4]byte
	for {
		if from.Buffered() == 0 {
			if err := to.Flush(); err != nil {
				return err
			}
		}
		if _, err := io.ReadFull(from, length[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		size := int64(binary.BigEndian.Uint32(length[:]))
		if size == 0 {
			return errors.New("an sftp packet without a kind")
		}
		peek := func(n int) []byte {
			b, _ := from.Peek(int(min(int64(n), size))) // an error comes again
			return b
		}
		kind := peek(1)
		if len(kind) == 0 {
			return io.ErrUnexpectedEOF
		}
		saw(kind[0], size, peek)
		if _, err := to.Write(length[:]); err != nil {
			return err
		}
		if _, err := io.CopyN(to, from, size); err != nil {
			return err
		}
	}
}
