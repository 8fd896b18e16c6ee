package webdav

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// randomData is of a length at which something may go wrong, and no part of it is as in others.
func randomData(r *rand.Rand) []byte {
	var n int
	switch r.IntN(10) {
	case 0: // nothing
	case 1, 2, 3:
		n = 1 + r.IntN(4095)
	case 4:
		n = 4096*(1+r.IntN(3)) - 1 + r.IntN(3) // about whole blocks
	case 5, 6:
		n = putBufferSmall - 2000 + r.IntN(4000)
	case 7, 8:
		n = 1 + r.IntN(1<<20)
	case 9:
		n = putBuffer - 1000 + r.IntN(1<<20)
	}
	data := make([]byte, n)
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(r.Uint32())
	}
	rand.NewChaCha8(seed).Read(data)
	return data
}

// killingBody kills the server at its moment.
type killingBody struct {
	data   *bytes.Reader
	n      int64 // of the PUT
	moment moment
	kill   func()
	begin  func()
	begun  bool
	ended  atomic.Pointer[time.Time] // when it was sent
}

func (b *killingBody) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.begin()
	}
	n, err := b.data.Read(p)
	if err == io.EOF && b.ended.Load() == nil {
		now := time.Now()
		b.ended.Store(&now)
	}
	if b.n == b.moment.put && !b.moment.answered {
		switch sent := b.data.Size() - int64(b.data.Len()); {
		case b.moment.after <= 1 && float64(sent) >= b.moment.after*float64(b.data.Size()):
			b.kill()
		case b.moment.after > 1 && err == io.EOF:
			time.AfterFunc(b.moment.wait, b.kill)
		}
	}
	return n, err
}
