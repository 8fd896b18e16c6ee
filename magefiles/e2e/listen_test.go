//go:build linux

package e2e

import (
	"net"
	"os"
	"slices"
	"testing"
)

// As Linux 6.1 prints them.
const tcp6Table = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 123 1 0 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:2673 0000000000000000FFFF00000100007F:C350 01 00000000:00000000 00:00000000 00000000  1001        0 124 1 0 100 0 0 10 0
`

func TestParseSockets(t *testing.T) {
	got, err := parseSockets("tcp6", tcp6Table)
	if err != nil || len(got) != 1 || got[0].String() != "tcp6 [::1]:631" || got[0].uid != 1001 || got[0].inode != "123" {
		t.Errorf("%v, %v", got, err)
	}
}

// What listens here is seen, TCP and UDP; what is connected is not.
func TestListeners(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	c, err := net.Dial("udp", u.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all, err := listeners(os.Getuid())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range all {
		names = append(names, s.String())
	}
	for _, want := range []string{"tcp " + l.Addr().String(), "udp " + u.LocalAddr().String()} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %q", want, names)
		}
	}
	if slices.Contains(names, "udp "+c.LocalAddr().String()) {
		t.Error("a connected socket counts as listening")
	}
}
