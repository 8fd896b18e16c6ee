package webdav

import (
	"io"
	"sync"
)

// wholeMax is up to what size, in bytes, a body is read before the first byte of it is
// sent: whatever fails is then a 5xx.
const wholeMax = 16 << 10

var wholes = sync.Pool{New: func() any { return new([wholeMax]byte) }}

// readWhole answers with all that lr has, which is no more than wholeMax.
func (g *getWriter) readWhole(lr *io.LimitedReader) (int64, error) {
	buf := wholes.Get().(*[wholeMax]byte)
	defer wholes.Put(buf)
	b := buf[:lr.N]
	switch _, err := io.ReadFull(lr, b); {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return 0, errShort
	case err != nil:
		return 0, err
	}
	if err := g.send(); err != nil {
		return 0, err
	}
	g.commit()
	n, err := g.ResponseWriter.Write(b)
	return int64(n), err
}
