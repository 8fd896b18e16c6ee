package webdav

import (
	"container/list"
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// shelf holds what was fetched before somebody asked for it, for a while and within a
// bound.
type shelf[T any] struct {
	age time.Duration // for which a thing is good, from the begin of its fetching
	max int           // sum of the costs
	now func() time.Time
	// asOf tells for how long a value fetched at a time is good, if that is longer; it may
	// be nil.
	asOf func(at time.Time) time.Duration

	mu      sync.Mutex
	things  map[string]*list.Element
	oldest  list.List // of *thing[T], the newest last
	size    int
	unasked int           // the part of size that was fetched, and that nobody has asked for yet
	slots   chan struct{} // of fetchings at once
	queued  int           // fetchings that have not begun
	tidying bool          // a timer will tidy up
}

// thing is one of a shelf.
type thing[T any] struct {
	key   string
	at    time.Time
	begun bool
	done  chan struct{} // closed when it is there, or could not be had
	err   error         // why it could not be had
	value T
	cost  int
	asked bool // somebody has asked for it
}

// queuedMax bounds the fetchings that wait for others to end.
const queuedMax = 256

func newShelf[T any](age time.Duration, max, width int, now func() time.Time) *shelf[T] {
	return &shelf[T]{age: age, max: max, now: now, things: map[string]*list.Element{}, slots: make(chan struct{}, width)}
}

// old says whether a thing is no longer good. By the wall clock, since the other one
// stands still while a machine sleeps; what is to come was before that was set back.
func (s *shelf[T]) old(t *thing[T]) bool {
	d := s.now().Round(0).Sub(t.at.Round(0))
	if d > s.age && s.asOf != nil && t.ended() && t.err == nil {
		return d > s.asOf(t.at)
	}
	return d > s.age || d < 0
}

func (t *thing[T]) ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// get gives the thing of a key, if there is one. One that is being fetched it waits
// for, and what comes of that is then the answer, also an error: over a slow or dead
// link it took as long as a question may take.
func (s *shelf[T]) get(ctx context.Context, key string) (value T, found bool, err error) {
	s.mu.Lock()
	e := s.things[key]
	if e == nil {
		s.mu.Unlock()
		return value, false, nil
	}
	t := e.Value.(*thing[T])
	switch ended := t.ended(); {
	case !t.begun: // whoever asks is faster than the queue
		s.drop(e)
		s.mu.Unlock()
		return value, false, nil
	case ended && (t.err != nil || s.old(t)):
		s.mu.Unlock()
		return value, false, nil
	}
	if !t.asked {
		t.asked = true
		s.unasked -= t.cost
	}
	s.mu.Unlock()
	select {
	case <-t.done:
	case <-ctx.Done():
		return value, false, ctx.Err()
	}
	return t.value, t.err == nil, t.err
}

// take is get for something that is given once.
func (s *shelf[T]) take(ctx context.Context, key string) (value T, found bool, err error) {
	value, found, err = s.get(ctx, key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.things[key]; e != nil && e.Value.(*thing[T]).err == nil {
		s.drop(e)
	}
	return value, found, err
}

// put keeps a value that was had at a time.
func (s *shelf[T]) put(key string, at time.Time, value T, cost int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.things[key]; e != nil {
		s.drop(e)
	}
	if s.large(cost) {
		return
	}
	t := &thing[T]{key: key, at: at, begun: true, asked: true, done: make(chan struct{}), value: value, cost: cost}
	close(t.done)
	s.add(t)
}

// large says whether something would take the place of too much else.
func (s *shelf[T]) large(cost int) bool { return cost > s.max/4 }

// fetch lets f get the value of a key in the background, unless it is there, or was in
// vain tried lately, or is on its way, or the shelf is full of what nobody has asked for yet.
func (s *shelf[T]) fetch(key string, f func() (value T, cost int, err error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trim()
	if e := s.things[key]; e != nil {
		if t := e.Value.(*thing[T]); !t.ended() || !s.old(t) {
			return
		}
		s.drop(e)
	}
	if s.queued >= queuedMax || s.unasked > s.max*3/4 {
		return
	}
	s.queued++
	t := &thing[T]{key: key, at: s.now(), done: make(chan struct{})}
	e := s.add(t)
	go func() {
		s.slots <- struct{}{}
		defer func() { <-s.slots }()
		s.mu.Lock()
		s.queued--
		wanted := s.things[key] == e
		t.begun, t.at = true, s.now()
		s.mu.Unlock()
		defer close(t.done)
		if !wanted { // nobody waits for what has not begun
			return
		}
		value, cost, err := guarded(f)
		s.mu.Lock()
		defer s.mu.Unlock()
		t.value, t.err = value, err
		switch {
		case s.things[key] != e || err != nil: // that it failed is known until it is old
		case s.large(cost): // only for who waits
			s.drop(e)
		default:
			t.cost = cost
			s.size += cost
			if !t.asked {
				s.unasked += cost
			}
			s.trim()
		}
	}()
}

// guarded makes an error of a panic: this is no request, whose panic ends that alone.
func guarded[T any](f func() (T, int, error)) (value T, cost int, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return f()
}

// add, drop and trim are called with mu held.
func (s *shelf[T]) add(t *thing[T]) *list.Element {
	e := s.oldest.PushBack(t)
	s.things[t.key] = e
	s.size += t.cost
	s.trim()
	if !s.tidying {
		s.tidying = true
		time.AfterFunc(s.age+time.Second, s.tidy)
	}
	return e
}

func (s *shelf[T]) drop(e *list.Element) {
	t := s.oldest.Remove(e).(*thing[T])
	s.size -= t.cost
	if !t.asked {
		s.unasked -= t.cost
	}
	delete(s.things, t.key)
}

// trim drops what is too old, and the oldest of what is too much; nothing that is on
// its way.
func (s *shelf[T]) trim() {
	for e := s.oldest.Front(); e != nil; {
		t, next := e.Value.(*thing[T]), e.Next()
		if t.ended() && (s.size > s.max || s.old(t)) {
			s.drop(e)
		} else if t.ended() {
			return // what follows is younger
		}
		e = next
	}
}

// tidy trims when nobody comes any more.
func (s *shelf[T]) tidy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trim()
	if s.tidying = s.oldest.Len() > 0; s.tidying {
		time.AfterFunc(s.age+time.Second, s.tidy)
	}
}
