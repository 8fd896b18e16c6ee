package bridge

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A packet may arrive in any pieces.
func TestPacketsAreCounted(t *testing.T) {
	stream := []byte{0, 0, 0, 1, 'a', 0, 0, 0, 3, 'b', 'c', 'd', 0, 0, 0, 0, 0, 0, 0, 2, 'e', 'f'}
	for size := 1; size <= len(stream); size++ {
		var p packets
		n := 0
		for b := stream; len(b) > 0; b = b[min(size, len(b)):] {
			n += p.count(b[:min(size, len(b))])
		}
		if n != 4 {
			t.Errorf("in pieces of %d: %d packets of 4", size, n)
		}
	}
}

var packet = []byte{0, 0, 0, 1, 'x'}

// A server is silent only while it owes an answer; the first connection may
// wait for a person; and after a silence nobody connects for a while.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, bites := &health{}, new(atomic.Int64)
		w := newWatchdog(h, func() { bites.Add(1) })
		w.asked(packet)
		time.Sleep(10 * silenceTime)
		if bites.Load() != 0 || h.down() {
			t.Fatal("the first connection was not waited for")
		}
		w.heard(packet)
		time.Sleep(10 * silenceTime) // idle
		w.asked(packet)
		w.asked(packet)
		for range 5 { // an answer that comes slowly
			time.Sleep(silenceTime - time.Second)
			w.heard(packet[:0:0])
		}
		w.heard(packet)
		if bites.Load() != 0 {
			t.Fatal("bites though the server answers")
		}
		time.Sleep(silenceTime - time.Second)
		synctest.Wait()
		if bites.Load() != 0 {
			t.Fatal("bites too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if bites.Load() != 1 || !h.down() {
			t.Fatalf("one answer of two is owed: %d bites, down: %v", bites.Load(), h.down())
		}
		if err := w.end(); err == nil {
			t.Error("no word about the silence")
		}
		time.Sleep(retryTime)
		if h.down() {
			t.Error("the remote stays down for ever")
		}
		// Later connections have no more time than answers.
		again := newWatchdog(h, func() { bites.Add(1) })
		again.asked(packet)
		time.Sleep(silenceTime + time.Second)
		synctest.Wait()
		if bites.Load() != 2 {
			t.Error("a connection that is not made is waited for")
		}
		ended := newWatchdog(h, func() { bites.Add(1) })
		ended.asked(packet)
		if err := ended.end(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * silenceTime)
		synctest.Wait()
		if bites.Load() != 2 {
			t.Error("bites after the end")
		}
	})
}
