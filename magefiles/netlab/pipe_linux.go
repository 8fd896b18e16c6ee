package netlab

import (
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// packet is an IP packet, and when it arrives.
type packet struct {
	data []byte
	at   time.Time
}

// pipe is one direction of a link: first in, first out.
type pipe struct {
	arrived atomic.Int64 // bytes

	giving sync.Mutex // is taken before mu

	mu     sync.Mutex
	link   Link
	down   bool
	ended  bool
	queue  []packet
	idle   time.Time // when the last packet has left the sender
	random *rand.Rand

	wake chan struct{} // the queue is no longer empty, or the pipe ended
}

// newPipe makes a pipe. Its losses are random, but the same in every run.
func newPipe(link Link, seed uint64) *pipe {
	return &pipe{link: link, random: rand.New(rand.NewPCG(seed, 0)), wake: make(chan struct{}, 1)}
}

func (p *pipe) set(link Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link = link
}

// cut cuts the pipe, with what is in it, or mends it.
func (p *pipe) cut(down bool) {
	p.giving.Lock()
	defer p.giving.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		p.queue, p.idle = nil, time.Time{}
	}
}

func (p *pipe) end() {
	p.mu.Lock()
	p.ended, p.queue = true, nil
	p.mu.Unlock()
	p.signal()
}

func (p *pipe) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// read takes packets from a device, until it is closed.
func (p *pipe) read(from io.Reader) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.put(buf[:n], time.Now())
	}
}

// put queues a packet that came now, or drops it.
func (p *pipe) put(data []byte, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := p.link.Queue
	if limit <= 0 {
		limit = defaultQueue
	}
	if p.down || p.ended || len(p.queue) >= limit || p.link.Loss > 0 && p.random.Float64() < p.link.Loss {
		return
	}
	if p.idle.Before(now) {
		p.idle = now
	}
	if p.link.Rate > 0 {
		p.idle = p.idle.Add(time.Duration(int64(len(data)) * 8 * int64(time.Second) / p.link.Rate))
	}
	at := p.idle.Add(p.link.RTT / 2)
	if n := len(p.queue); n > 0 && at.Before(p.queue[n-1].at) { // after SetLink
		at = p.queue[n-1].at
	}
	p.queue = append(p.queue, packet{append([]byte(nil), data...), at})
	p.signal()
}

// write gives packets to the other device when they are due.
func (p *pipe) write(to io.Writer) {
	for {
		next, ok := p.give(to, time.Now())
		switch {
		case !ok:
			return
		case next.data != nil:
		case next.at.IsZero():
			<-p.wake
		default:
			// Finer than this, sleeping costs more than it gives; and no packet
			// overtakes the first.
			time.Sleep(max(time.Until(next.at), 20*time.Microsecond))
		}
	}
}

// give is take, and hands the packet over. A cut waits for it, so that after
// Cut nothing arrives.
func (p *pipe) give(to io.Writer, now time.Time) (packet, bool) {
	p.giving.Lock()
	defer p.giving.Unlock()
	next, ok := p.take(now)
	if next.data != nil {
		if _, err := to.Write(next.data); err == nil {
			p.arrived.Add(int64(len(next.data)))
		}
	}
	return next, ok
}

// take removes the first packet if it is due. Otherwise, data is nil, and at is
// when the first one is due, zero if there is none. ok is false at the end.
func (p *pipe) take(now time.Time) (next packet, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return packet{}, false
	}
	if len(p.queue) == 0 {
		return packet{}, true
	}
	if next = p.queue[0]; next.at.After(now) {
		return packet{at: next.at}, true
	}
	p.queue[0] = packet{} // to be collected
	p.queue = p.queue[1:]
	return next, true
}
