package throwaway

import (
	"testing"
	"time"

	"github.com/pkg/sftp"
)

// A link that is cut carries nothing, loses nothing, and is whole again.
func TestCut(t *testing.T) {
	s, _ := start(t)
	c, err := sftp.NewClient(client(t, s))
	must(t, err)
	cuts := map[string]func(){
		"cut": s.Cut,
		"cut after some bytes": func() {
			reached := s.CutAfter(1)
			go func() { _, _ = c.Stat(".") }()
			<-reached
		},
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			cut()
			before := int64(-1)
			for now := s.Counters().Out; now != before; now = s.Counters().Out { // it counts after the fact
				before = now
				time.Sleep(50 * time.Millisecond)
			}
			answer := make(chan error, 1)
			go func() { _, err := c.Stat("."); answer <- err }()
			select {
			case err := <-answer:
				t.Errorf("an answer over a dead link: %v", err)
			case <-time.After(200 * time.Millisecond): // there is no event for nothing
			}
			if n := s.Counters().Out - before; n != 0 {
				t.Errorf("%d bytes went over a dead link", n)
			}
			s.Restore()
			must(t, <-answer)
		})
	}
	// A server with a dead link can be closed; this hangs else.
	s.Cut()
	go func() { _, _ = c.Stat(".") }()
	must(t, s.Close())
}
