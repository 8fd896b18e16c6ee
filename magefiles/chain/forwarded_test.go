package chain

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
)

func TestPortOfThisMachineIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	err = portFree(context.Background(), port, 300*time.Millisecond)
	if proto.CodeOf(err) != proto.Serve || !strings.Contains(err.Error(), "is taken by another program") || !strings.Contains(err.Error(), "`port:`") {
		t.Errorf("taken: %v", err)
	}
	// Lima gives a port back a moment after its listener has gone.
	time.AfterFunc(300*time.Millisecond, func() { l.Close() })
	if err := portFree(context.Background(), port, 10*time.Second); err != nil {
		t.Errorf("free again: %v", err)
	}
}

// A server that is not ours gets no password, and is no success.
func TestAnothersServerIsNotReached(t *testing.T) {
	asked := make(chan http.Header, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.Header.Clone():
		default:
		}
		w.WriteHeader(http.StatusOK)
	}))
	defer s.Close()
	err := reach(context.Background(), &proto.Session{Address: s.Listener.Addr().String(), User: "fuseless", Password: "hunter2"}, 300*time.Millisecond)
	if err == nil {
		t.Fatal("it passes for ours")
	}
	if h := (<-asked).Get("Authorization"); h != "" {
		t.Errorf("it was told %q", h)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := reach(ended, &proto.Session{Address: "127.0.0.1:1"}, time.Hour); err == nil {
		t.Error("an ended context does not end it")
	}
}
