package webdav

import (
	"io"
	"sync"
	"time"
)

// A body that is not read whole is sent in pieces: of as many bytes as can be read within
// pieceSoon, so that nobody waits for much that comes over a slow link.
//
// sendfile(2), which this took the place of, hands on pages of the page cache, 64 KiB at a time: over
// loopback that gives 0.8 of what copying gives (`mage bench local`), and a file that
// is replaced under a view's name changes what is in the socket already.
const (
	pieceMin  = 64 << 10 // that are waited for in any case
	pieceMax  = 1 << 20  // at most; a client has writeTimeout for each
	pieceSoon = 20 * time.Millisecond
	largeMax  = 16 // bodies at once whose pieces are larger than pieceMin: it is memory
)

var (
	smallPieces = sync.Pool{New: func() any { return new([pieceMin]byte) }}
	largePieces = sync.Pool{New: func() any { return new([pieceMax]byte) }}
	largeUsed   = make(chan struct{}, largeMax)
)

// readPieces answers with all that lr has. Nothing is sent before the first piece is read.
func (g *getWriter) readPieces(lr *io.LimitedReader) (sent int64, err error) {
	buf, release := pieceBuffer(lr.N)
	defer release()
	for lr.N > 0 {
		n, begun := 0, time.Now()
		for lr.N > 0 && n < len(buf) && (n == 0 || time.Since(begun) < pieceSoon) {
			m, err := io.ReadFull(lr, buf[n:][:min(pieceMin, lr.N)])
			switch {
			case err == io.EOF, err == io.ErrUnexpectedEOF:
				return sent, errShort
			case err != nil:
				return sent, err
			}
			n += m
		}
		if sent == 0 {
			if err := g.send(); err != nil {
				return 0, err
			}
			g.commit()
		}
		m, err := g.ResponseWriter.Write(buf[:n])
		sent += int64(m)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// pieceBuffer is a buffer for a body of size bytes, a multiple of pieceMin, until it is released.
func pieceBuffer(size int64) (buf []byte, release func()) {
	if size > pieceMin {
		select {
		case largeUsed <- struct{}{}:
			b := largePieces.Get().(*[pieceMax]byte)
			return b[:], func() { largePieces.Put(b); <-largeUsed }
		default:
		}
	}
	b := smallPieces.Get().(*[pieceMin]byte)
	return b[:], func() { smallPieces.Put(b) }
}
