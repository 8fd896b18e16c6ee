package webdav

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fetching counts what is on its way, or waits to be.
func (s *shelf[T]) fetching() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = s.queued // also of those that were taken off the shelf before they began
	for e := s.oldest.Front(); e != nil; e = e.Next() {
		if !e.Value.(*thing[T]).ended() {
			n++
		}
	}
	return n
}

// settle waits until nothing is being fetched.
func (s *shelf[T]) settle(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); s.fetching() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("something is being fetched all the time")
		}
	}
}

// The memory is bounded: the oldest goes first, and what would take the place of
// too much else is not kept.
func TestShelfIsBounded(t *testing.T) {
	c := &clock{t: time.Now()}
	s := newShelf[string](time.Minute, 16, 1, c.now)
	for i := range 20 {
		s.put(fmt.Sprint(i), c.now(), "x", 4)
	}
	if len(s.things) != 4 || s.size != 16 {
		t.Errorf("%d things of %d", len(s.things), s.size)
	}
	s.put("large", c.now(), "x", 5)
	if _, found, _ := s.get(t.Context(), "large"); found || len(s.things) != 4 {
		t.Errorf("large: %v, and %d others", found, len(s.things))
	}
	// Of what was fetched for nobody yet no more than fits.
	for i := range 5 {
		s.fetch(fmt.Sprint("ahead ", i), func() (string, int, error) { return "x", 4, nil })
		s.settle(t)
	}
	if s.things["ahead 3"] == nil || s.things["ahead 4"] != nil || s.size != 16 {
		t.Errorf("fetched ahead: %v, of %d", slices.Sorted(maps.Keys(s.things)), s.size)
	}
	if _, found, _ := s.get(t.Context(), "ahead 0"); !found {
		t.Error("what was fetched is not there")
	}
	s.fetch("ahead 4", func() (string, int, error) { return "x", 4, nil })
	s.settle(t)
	if s.things["ahead 4"] == nil || s.size != 16 {
		t.Error("nothing more is fetched, though what was fetched was asked for")
	}
	c.pass(time.Minute + 1)
	s.put("new", c.now(), "x", 1)
	if len(s.things) != 1 {
		t.Errorf("what is too old was kept: %d things", len(s.things))
	}
	// The monotonic clock stands still while a machine sleeps.
	c.t = c.t.Round(0).Add(8 * time.Hour)
	if _, found, _ := s.get(t.Context(), "new"); found {
		t.Error("what was had before a sleep is given after it")
	}
}

// Who has waited gets what came, however long it took.
func TestShelfGivesWhatWasWaitedFor(t *testing.T) {
	c := &clock{t: time.Now()}
	s := newShelf[string](time.Minute, 16, 1, c.now)
	held, begun := make(chan struct{}), make(chan struct{})
	s.fetch("slow", func() (string, int, error) { close(begun); <-held; return "came", 1, nil })
	<-begun
	got := make(chan string)
	go func() {
		v, _, _ := s.get(t.Context(), "slow")
		got <- v
	}()
	time.Sleep(10 * time.Millisecond) // for it to wait; else it tests nothing, and does not fail
	c.pass(2 * time.Minute)
	close(held)
	if v := <-got; v != "came" {
		t.Errorf("%q", v)
	}
	if _, found, _ := s.get(t.Context(), "slow"); found {
		t.Error("it is given to who asks later")
	}
}

// A panic while something is fetched is an error, for who waits.
func TestShelfSurvivesPanic(t *testing.T) {
	s := newShelf[string](time.Minute, 16, 1, time.Now)
	begun := make(chan struct{})
	s.fetch("bad", func() (string, int, error) { <-begun; panic("boom") })
	for {
		s.mu.Lock()
		is := s.things["bad"].Value.(*thing[string]).begun
		s.mu.Unlock()
		if is {
			break
		}
		time.Sleep(time.Millisecond)
	}
	ended := make(chan error)
	go func() {
		_, _, err := s.get(t.Context(), "bad")
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond) // as above
	close(begun)
	if err := <-ended; err != nil && !strings.Contains(err.Error(), "boom") {
		t.Error(err)
	}
	s.fetch("good", func() (string, int, error) { return "x", 1, nil })
	for {
		if _, found, _ := s.get(t.Context(), "good"); found {
			break
		}
		s.fetch("good", func() (string, int, error) { return "x", 1, nil })
	}
}

// Many at once, on few keys: nothing but what was put, and all end.
func TestShelfStress(t *testing.T) {
	s := newShelf[string](time.Millisecond, 64, 4, time.Now)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 500 {
				key := fmt.Sprint((i + j) % 20)
				switch j % 4 {
				case 0:
					s.put(key, time.Now(), key, 1+j%8)
				case 1:
					s.fetch(key, func() (string, int, error) {
						if j%3 == 0 {
							return "", 0, errors.New("failed")
						}
						return key, 1 + j%20, nil
					})
				default:
					get := s.get
					if j%4 == 2 {
						get = s.take
					}
					if v, found, err := get(t.Context(), key); found && (v != key || err != nil) {
						t.Errorf("%q of %q, %v", v, key, err)
					}
				}
			}
		})
	}
	wg.Wait()
	for s.fetching() > 0 {
		time.Sleep(time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for e := s.oldest.Front(); e != nil; e = e.Next() {
		sum += e.Value.(*thing[string]).cost
	}
	if sum != s.size || s.size > s.max || len(s.things) != s.oldest.Len() || s.queued != 0 {
		t.Errorf("%d of %d in %d things (%d), %d queued", s.size, sum, len(s.things), s.oldest.Len(), s.queued)
	}
}
