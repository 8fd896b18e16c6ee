package sampler

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Sampler is a running watch.
type Sampler struct {
	secrets [][]byte
	stop    chan struct{}
	done    chan struct{}

	mu       sync.Mutex
	samples  int
	started  int           // passes begun
	pass     chan struct{} // closed and replaced at the end of every pass
	findings []Finding
	seen     map[Finding]bool
}

// Start watches all processes but this one, pass after pass, until Stop. The
// secrets are copied. It panics on an empty one, which would be found
// everywhere.
func Start(secrets ...[]byte) *Sampler {
	s := &Sampler{stop: make(chan struct{}), done: make(chan struct{}), pass: make(chan struct{}), seen: map[Finding]bool{}}
	for _, secret := range secrets {
		if len(secret) == 0 {
			panic("sampler: an empty secret")
		}
		s.secrets = append(s.secrets, bytes.Clone(secret))
	}
	go s.run()
	return s
}

// Stop ends the watch and returns what was found, each process, place and
// secret once. It may be called again.
func (s *Sampler) Stop() []Finding {
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.mu.Unlock()
	<-s.done
	return s.Findings()
}

// Findings is what was found so far.
func (s *Sampler) Findings() []Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Finding(nil), s.findings...)
}

// Samples is how many passes over all processes are complete.
func (s *Sampler) Samples() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.samples
}

// WaitPass waits for the end of a pass that began after the call: what was
// there all the while is found when it returns. The error is ctx's, or
// os.ErrClosed after Stop.
func (s *Sampler) WaitPass(ctx context.Context) error {
	s.mu.Lock()
	want := s.started + 1
	for s.samples < want {
		pass := s.pass
		s.mu.Unlock()
		select {
		case <-pass:
		case <-s.done:
			return os.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
	return nil
}

func (s *Sampler) run() {
	defer close(s.done)
	self := os.Getpid()
	var buf []byte
	for {
		select {
		case <-s.stop:
			return
		default:
		}
		s.mu.Lock()
		s.started++
		s.mu.Unlock()
		for _, pid := range pids() {
			if pid == self {
				continue
			}
			for _, where := range []string{"cmdline", "environ"} {
				buf = read(buf, pid, where)
				s.search(buf, pid, where)
			}
		}
		s.mu.Lock()
		s.samples++
		close(s.pass)
		s.pass = make(chan struct{})
		s.mu.Unlock()
	}
}

func (s *Sampler) search(content []byte, pid int, where string) {
	for i, secret := range s.secrets {
		if !bytes.Contains(content, secret) {
			continue
		}
		f := Finding{PID: pid, Where: where, Secret: i}
		if s.seen[f] {
			continue
		}
		s.seen[f] = true // without Comm, which changes at exec
		f.Comm = strings.TrimSpace(string(read(nil, pid, "comm")))
		s.mu.Lock()
		s.findings = append(s.findings, f)
		s.mu.Unlock()
	}
}

func pids() []int {
	f, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// read is a file of /proc/PID, in buf if it has room; empty if the process is
// gone or another user's.
func read(buf []byte, pid int, name string) []byte {
	buf = buf[:0]
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/" + name)
	if err != nil {
		return buf
	}
	defer f.Close()
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, 4096+len(buf))...)[:len(buf)]
		}
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			return buf
		}
	}
}
