package bridge

import (
	"encoding/binary"
	"io"
	"sync"
	"time"

	"fuseless/guest/proto"
)

// A mounted view must answer with an error soon after the remote has stopped to
// answer: sshfs itself waits for ever. So the bridge of a mount ends an sftp
// session whose server owes an answer and has been silent for silenceTime; then
// sshfs fails what waits (EIO), and connects again for the next access. A read
// through the view needs several accesses, so for retryTime after such an end
// new sessions are refused at once, instead of one silence after the other.
var (
	silenceTime = 12 * time.Second
	retryTime   = 5 * time.Second
)

// health is what the sessions of a mount know of the remote.
type health struct {
	mu       sync.Mutex
	answered bool      // a session has had an answer
	failed   time.Time // when the last one broke, zero if it has answered since
}

// down says whether the remote was found dead a moment ago.
func (h *health) down() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answered && !h.failed.IsZero() && time.Since(h.failed) < retryTime
}

func (h *health) broke() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = time.Now()
}

// watchdog watches one sftp session.
type watchdog struct {
	health *health
	bite   func() // ends the session

	mu       sync.Mutex
	timer    *time.Timer
	ended    bool
	bitten   bool
	owed     int // answers: the server owes one for each packet (draft-ietf-secsh-filexfer-02, 3)
	out, in  packets
	patience bool // the first connection: a person may have to touch a key
}

func newWatchdog(h *health, bite func()) *watchdog {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &watchdog{health: h, bite: bite, patience: !h.answered}
}

func (w *watchdog) asked(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.out.count(b)
	if w.owed += n; n > 0 && w.owed == n {
		w.wind()
	}
}

func (w *watchdog) heard(b []byte) {
	w.health.mu.Lock()
	w.health.answered, w.health.failed = true, time.Time{}
	w.health.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.patience = false
	w.owed -= w.in.count(b)
	w.wind() // also the part of an answer is a sign of life
}

// wind begins to wait anew. The caller holds mu.
func (w *watchdog) wind() {
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.owed <= 0 || w.patience || w.ended {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(silenceTime, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.timer != t || w.owed <= 0 || w.ended {
			return
		}
		w.bitten, w.ended = true, true
		w.health.broke()
		w.bite()
	})
	w.timer = t
}

// end ends the watching, and returns an error if the server was silent.
func (w *watchdog) end() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.bitten {
		return proto.Errorf(proto.Remote, "the remote has not answered for %.0f s", silenceTime.Seconds()).
			WithHint("the mount connects again by itself when it is used")
	}
	return nil
}

// packets counts sftp packets in a stream: each begins with its length, as 4
// bytes.
type packets struct {
	head [4]byte
	n    int    // bytes of head that are known
	left uint32 // bytes of the packet that are to come
}

// count is how many packets end in b.
func (p *packets) count(b []byte) (ended int) {
	for len(b) > 0 {
		if p.n < len(p.head) {
			n := copy(p.head[p.n:], b)
			p.n, b = p.n+n, b[n:]
			if p.n == len(p.head) {
				p.left = binary.BigEndian.Uint32(p.head[:])
			}
		} else {
			n := min(uint32(len(b)), p.left)
			p.left, b = p.left-n, b[n:]
		}
		if p.n == len(p.head) && p.left == 0 {
			ended++
			p.n = 0
		}
	}
	return ended
}

// tapped is a reader that shows what it reads.
type tapped struct {
	io.Reader
	see func([]byte)
}

func (t tapped) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if n > 0 {
		t.see(p[:n])
	}
	return n, err
}
