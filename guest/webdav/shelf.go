package webdav

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// shelf holds what was fetched before somebody asked for it, for a while and within a
// bound.
type shelf[T any] struct {
	age time.Duration // for which a thing is good, from the begin of its fetching
	max int           // sum of the costs
	now func() time.Time

	mu     sync.Mutex
	things map[string]*list.Element
	oldest list.List // of *thing[T], the newest last
	size   int
	slots  chan struct{} // of fetchings at once
	queued int           // fetchings that have not begun
}

// thing is one of a shelf.
type thing[T any] struct {
	key   string
	at    time.Time
	begun bool
	done  chan struct{} // closed when it is there, or could not be had
	err   error // why it could not be had
	value T
	cost  int
}

// queuedMax bounds the fetchings that wait for others to end.
const queuedMax = 256

func newShelf[T any](age time.Duration, max, width int, now func() time.Time) *shelf[T] {
	return &shelf[T]{age: age, max: max, now: now, things: map[string]*list.Element{}, slots: make(chan struct{}, width)}
}

// get gives the thing of a key, if there is one. One that is being fetched it waits
// for, and that it could not be had is then the answer for who waited, too: over a
// link that is dead it took as long as a question may take.
func (s *shelf[T]) get(ctx context.Context, key string) (value T, found bool, err error) {
	s.mu.Lock()
	e := s.things[key]
	if e == nil {
		s.mu.Unlock()
		return value, false, nil
	}
	t := e.Value.(*thing[T])
	if !t.begun { // whoever asks is faster than the queue
		s.drop(e)
		s.mu.Unlock()
		return value, false, nil
	}
	s.mu.Unlock()
	select {
	case <-t.done:
	case <-ctx.Done():
		return value, false, ctx.Err()
	}
	if t.err != nil || s.now().Sub(t.at) > s.age {
		return value, false, t.err
	}
	return t.value, true, nil
}

// take is get for something that is given once.
func (s *shelf[T]) take(ctx context.Context, key string) (value T, found bool, err error) {
	value, found, err = s.get(ctx, key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.things[key]; e != nil {
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
	t := &thing[T]{key: key, at: at, begun: true, done: make(chan struct{}), value: value, cost: cost}
	close(t.done)
	s.add(t)
}

// fetch lets f get the value of a key in the background, unless it is there, or on its
// way, or too much else is. What f cannot get is forgotten.
func (s *shelf[T]) fetch(key string, f func() (value T, cost int, err error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.things[key]; e != nil {
		if t := e.Value.(*thing[T]); s.now().Sub(t.at) <= s.age {
			return
		}
		s.drop(e)
	}
	if s.queued >= queuedMax {
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
		value, cost, err := f()
		s.mu.Lock()
		defer s.mu.Unlock()
		t.value, t.err = value, err
		switch {
		case s.things[key] != e:
		case err != nil:
			s.drop(e)
		default:
			t.cost = cost
			s.size += cost
			s.trim()
		}
	}()
}

// add, drop and trim are called with mu held.
func (s *shelf[T]) add(t *thing[T]) *list.Element {
	e := s.oldest.PushBack(t)
	s.things[t.key] = e
	s.size += t.cost
	s.trim()
	return e
}

func (s *shelf[T]) drop(e *list.Element) {
	t := s.oldest.Remove(e).(*thing[T])
	s.size -= t.cost
	delete(s.things, t.key)
}

// trim drops what is too old, and the oldest of what is too much.
func (s *shelf[T]) trim() {
	for e := s.oldest.Front(); e != nil; e = s.oldest.Front() {
		t := e.Value.(*thing[T])
		if s.size <= s.max && (!t.begun || s.now().Sub(t.at) <= s.age) {
			return
		}
		s.drop(e)
	}
}
