package throwaway

import "sync"

// gate is what the bytes of all connections pass: a link that can be dead.
type gate struct {
	mu      sync.Mutex
	dead    chan struct{} // closed when the link is whole again; nil while it is
	left    int64         // bytes that may still come in before it is cut, if reached is set
	reached chan struct{} // closed then
}

// Cut stops all bytes, in both directions, also those of new connections. None
// is lost, and no connection is closed: what waits goes on with Restore. That is
// what a network does that delivers nothing for a while.
func (s *Server) Cut() { s.gate.cut() }

// CutAfter cuts once n more bytes have come in; the channel is closed then.
func (s *Server) CutAfter(n int64) (reached <-chan struct{}) {
	g := &s.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left, g.reached = n, make(chan struct{})
	return g.reached
}

// Restore undoes Cut, and a CutAfter that was not reached.
func (s *Server) Restore() {
	g := &s.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reached = nil
	if g.dead != nil {
		close(g.dead)
		g.dead = nil
	}
}

func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead == nil {
		g.dead = make(chan struct{})
	}
}

// came notes that n bytes came in.
func (g *gate) came(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reached == nil {
		return
	}
	if g.left -= int64(n); g.left > 0 {
		return
	}
	close(g.reached)
	g.reached = nil
	if g.dead == nil {
		g.dead = make(chan struct{})
	}
}

// wait waits until the link is whole, or closed is closed.
func (g *gate) wait(closed <-chan struct{}) {
	for {
		g.mu.Lock()
		dead := g.dead
		g.mu.Unlock()
		if dead == nil {
			return
		}
		select {
		case <-dead:
		case <-closed:
			return
		}
	}
}
