package webdav

import (
	"io"
	"sync"
	"time"
)

// A body that is not read whole is read in pieces of so many bytes, beginning with the
// least, and in larger ones as long as each is there within pieceSoon: nobody is to wait
// for much that comes over a slow link.
//
// sendfile(2), which this took the place of, hands on pages of the page cache, 64 KiB at a time: over
// loopback that gives 0.8 of what copying gives (`mage bench local`), and a file that
// is replaced under a view's name changes what is in the socket already.
const (
	pieceMin  = 64 << 10
	pieceMax  = writePiece // so that a client has its time for each
	pieceSoon = 20 * time.Millisecond
	largeMax  = 16 // bodies at once that have more than pieceMin: it is memory
)

var (
	smallPieces = sync.Pool{New: func() any { return new([pieceMin]byte) }}
	largePieces = sync.Pool{New: func() any { return new([pieceMax]byte) }}
	largeUsed   = make(chan struct{}, largeMax)
)

// readPieces answers with all that lr has. Nothing is sent before the first piece is read.
func (g *getWriter) readPieces(lr *io.LimitedReader) (sent int64, err error) {
	var buf []byte
	select {
	case largeUsed <- struct{}{}:
		b := largePieces.Get().(*[pieceMax]byte)
		buf = b[:]
		defer func() { largePieces.Put(b); <-largeUsed }()
	default:
		b := smallPieces.Get().(*[pieceMin]byte)
		buf = b[:]
		defer smallPieces.Put(b)
	}
	for size := pieceMin; lr.N > 0; {
		begun := time.Now()
		n, err := io.ReadFull(lr, buf[:min(int64(size), lr.N)])
		switch {
		case err == io.EOF, err == io.ErrUnexpectedEOF:
			return sent, errShort
		case err != nil:
			return sent, err
		case sent == 0:
			if err := g.send(); err != nil {
				return 0, err
			}
			g.commit()
		}
		if time.Since(begun) < pieceSoon {
			size = min(2*size, len(buf))
		} else {
			size = max(size/2, pieceMin)
		}
		m, err := g.ResponseWriter.Write(buf[:n])
		sent += int64(m)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}
