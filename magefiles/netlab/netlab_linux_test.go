package netlab

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newLab makes a lab, or skips the test.
func newLab(t *testing.T, link Link) *Lab {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	l, err := New(t.Context(), link)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// echo starts a server on the remote that sends back what it gets, and connects
// to it from the guest.
func echo(t *testing.T, l *Lab) net.Conn {
	t.Helper()
	var server net.Listener
	err := l.remote.enter(func() (err error) {
		server, err = net.Listen("tcp", l.RemoteAddr()+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	c, err := l.DialGuest(t.Context(), server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// thereAndBack measures how long n bytes take to come back.
func thereAndBack(t *testing.T, c net.Conn, n int) time.Duration {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	sent := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
	start := time.Now()
	go func() { _, _ = c.Write(sent) }()
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Fatal("other bytes came back")
	}
	return time.Since(start)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fastest is the least of three: a busy machine only adds.
func fastest(f func() time.Duration) time.Duration { return min(f(), f(), f()) }

func TestRoundTripTime(t *testing.T) {
	l := newLab(t, Link{RTT: 100 * time.Millisecond})
	c := echo(t, l)
	one := func() time.Duration { return thereAndBack(t, c, 1) }
	long := fastest(one)
	l.SetLink(Link{})
	short := fastest(one)
	if long < 100*time.Millisecond || long > 3*time.Second || short > long/2 {
		t.Errorf("%v at 100 ms, %v without delay", long, short)
	}
}

func TestRate(t *testing.T) {
	l := newLab(t, Link{Rate: 4_000_000})
	c := echo(t, l)
	const n = 500_000 // a second each way, and the ways overlap
	slow := thereAndBack(t, c, n)
	l.SetLink(Link{})
	fast := thereAndBack(t, c, n)
	if slow < 900*time.Millisecond || slow > 20*time.Second || fast > slow/2 {
		t.Errorf("%d bytes took %v at 4 Mbit/s, %v without a limit", n, slow, fast)
	}
	// Headers and acknowledgements come on top.
	if s := l.Sent(); s.ToRemote < 2*n || s.ToRemote > 3*n || s.ToGuest < 2*n || s.ToGuest > 3*n {
		t.Errorf("sent %d bytes four times, counted %+v", n, s)
	}
}

// A megabyte arrives whole over a link that drops packets, and packets are
// dropped.
func TestLoss(t *testing.T) {
	l := newLab(t, Link{Loss: 0.05})
	thereAndBack(t, echo(t, l), 1<<20)
	p := newPipe(Link{Loss: 0.05}, 1)
	for range 10_000 {
		p.put([]byte{1}, time.Now())
	}
	if n := len(p.queue); n < 9_300 || n > 9_700 {
		t.Errorf("of 10,000 packets, 5 %% lost, %d arrive", n)
	}
}

func TestQueue(t *testing.T) {
	p, now := newPipe(Link{RTT: time.Second, Rate: 8_000, Queue: 3}, 1), time.Now()
	for range 5 {
		p.put(make([]byte, 100), now)
	}
	if len(p.queue) != 3 {
		t.Fatalf("%d packets in a queue of 3", len(p.queue))
	}
	for i, packet := range p.queue { // 100 ms each, and half a second to travel
		if at := packet.at.Sub(now); at != time.Duration(i+1)*100*time.Millisecond+500*time.Millisecond {
			t.Errorf("packet %d arrives after %v", i, at)
		}
	}
	p.set(Link{})
	p.put([]byte{1}, now)
	if n := len(p.queue); n != 4 || p.queue[3].at.Before(p.queue[2].at) {
		t.Error("a packet on a link that became faster overtakes another")
	}
}

// What is sent while the link is cut arrives afterwards, because TCP sends it
// again; nobody is told of the cut.
func TestCut(t *testing.T) {
	l := newLab(t, Link{RTT: 10 * time.Millisecond})
	c := echo(t, l)
	thereAndBack(t, c, 1)
	l.Cut()
	before := l.Sent()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	must(t, c.SetReadDeadline(time.Now().Add(time.Second)))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !os.IsTimeout(err) {
		t.Fatalf("over a link that is cut: %d bytes, %v", n, err)
	}
	if after := l.Sent(); after != before {
		t.Errorf("over a link that is cut: %+v, then %+v", before, after)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if c, err := l.DialGuest(ctx, c.RemoteAddr().String()); err == nil {
		c.Close()
		t.Error("a connection over a link that is cut")
	}
	l.Restore()
	must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	got := make([]byte, 1)
	if _, err := io.ReadFull(c, got); err != nil || got[0] != 'x' {
		t.Errorf("%q, %v after the cut", got, err)
	}
}

// Two labs do not see each other, nor the machine's own network.
func TestTwoLabs(t *testing.T) {
	a, b := newLab(t, Link{}), newLab(t, Link{})
	if a.RemoteAddr() == b.RemoteAddr() {
		t.Error("two labs at ", a.RemoteAddr())
	}
	ca, cb := echo(t, a), echo(t, b)
	thereAndBack(t, ca, 10)
	thereAndBack(t, cb, 10)
	a.Cut()
	thereAndBack(t, cb, 10)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if c, err := b.DialGuest(ctx, ca.RemoteAddr().String()); err == nil {
		c.Close()
		t.Error("one lab reaches another")
	}
}

// A program runs at the end that was asked for, with its own arguments and
// rights, and with cubic on the link.
func TestInside(t *testing.T) {
	l := newLab(t, Link{})
	for _, end := range []struct {
		in        func(*exec.Cmd)
		own, peer string
	}{{l.InGuest, l.GuestAddr(), l.RemoteAddr()}, {l.InRemote, l.RemoteAddr(), l.GuestAddr()}} {
		c := exec.Command("ip", "-o", "route", "get", end.peer)
		end.in(c)
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "src "+end.own) || !strings.Contains(string(out), "cubic") {
			t.Errorf("%v: %s", err, out)
		}
	}
	c := exec.Command("sh", "-c", `id -u; id -g; echo "$1"`, "sh", "two words")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 23456}}
	l.InGuest(c)
	out, err := c.CombinedOutput()
	if err != nil || string(out) != "12345\n23456\ntwo words\n" {
		t.Errorf("%v: %q", err, out)
	}
}

// Nothing is left of a lab: neither of a closed one, nor of one that could not
// be made.
func TestNothingLeft(t *testing.T) {
	l := newLab(t, Link{})
	echo(t, l)
	c := exec.Command("readlink", "/proc/self/ns/net")
	l.InGuest(c)
	out, err := c.Output()
	must(t, err)
	inode := strings.TrimSpace(string(out))
	if own, _ := os.Readlink("/proc/self/ns/net"); own == inode || inode == "" {
		t.Fatalf("the lab is in %q, the test in %q", inode, own)
	}
	must(t, l.Close())
	must(t, l.Close())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l, err := New(ctx, Link{}); err == nil {
		l.Close()
		t.Error("a lab though the context has ended")
	}
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, fd := range fds {
		to, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		if to == tunDevice || strings.HasPrefix(to, "net:") {
			t.Error("open: ", to)
		}
	}
	if b, err := os.ReadFile("/proc/self/mountinfo"); err != nil || bytes.Contains(b, []byte(" nsfs ")) {
		t.Error("a namespace is mounted", err)
	}
	// No thread of this process may be left inside.
	threads, err := os.ReadDir("/proc/self/task")
	must(t, err)
	for _, thread := range threads {
		if _, err := strconv.Atoi(thread.Name()); err != nil {
			continue
		}
		if ns, err := os.Readlink("/proc/self/task/" + thread.Name() + "/ns/net"); err == nil && ns == inode {
			t.Errorf("thread %s is left in the lab", thread.Name())
		}
	}
}
