package templates_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lima-vm/lima/pkg/guestagent/api"
	"github.com/lima-vm/lima/pkg/limayaml"
	"github.com/lima-vm/lima/pkg/portfwd"
	"github.com/sirupsen/logrus"

	"fuseless/templates"
)

// forwarded asks Lima's own forwarder what it would do when something in the
// guest begins to listen. Its answer is its log; the rule that it appends for
// everything is the one of hostagent.New.
func forwarded(t *testing.T, rules []limayaml.PortForward, proto, ip string, port int32) bool {
	t.Helper()
	// Lima's forwarder logs from goroutines that outlive the call.
	var log lockedBuffer
	logrus.SetOutput(&log)
	defer logrus.SetOutput(os.Stderr)
	var everything limayaml.PortForward
	limayaml.FillPortForwardDefaults(&everything, t.TempDir(), limayaml.User{}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	event := &api.Event{LocalPortsAdded: []*api.IPPort{{Protocol: proto, Ip: ip, Port: port}}}
	f := portfwd.NewPortForwarder(append(slices.Clone(rules), everything), false, false)
	f.OnEvent(ctx, nil, event)
	f.OnEvent(ctx, nil, &api.Event{LocalPortsRemoved: event.LocalPortsAdded})
	yes := strings.Contains(log.String(), "Forwarding "+strings.ToUpper(proto))
	if yes == strings.Contains(log.String(), "Not forwarding") {
		t.Fatalf("Lima says neither or both: %s", log.String())
	}
	return yes
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestOnlyTheVaultsPortsAreForwarded(t *testing.T) {
	y := load(t, render(t, templates.VM{HostOS: "linux", Arch: "amd64", Ports: []int{29843, 29844}}))
	last := y.PortForwards[len(y.PortForwards)-1]
	if !last.Ignore || last.Proto != limayaml.ProtoAny || last.GuestPortRange != [2]int{1, 65535} {
		t.Errorf("the last rule is %+v", last)
	}
	for _, rule := range y.PortForwards {
		if !rule.Ignore && (rule.HostIP.String() != "127.0.0.1" || rule.GuestIP.String() != "127.0.0.1" || rule.GuestPortRange != rule.HostPortRange) {
			t.Errorf("forwards %+v", rule)
		}
	}
	for _, proto := range []string{"tcp", "udp"} {
		for _, ip := range []string{"127.0.0.1", "127.0.0.53", "0.0.0.0", "::", "::1", "192.168.5.15", "fe80::1"} {
			for _, port := range []int32{1, 53, 111, 5355, 9842, 29842, 29845, 65535} {
				if forwarded(t, y.PortForwards, proto, ip, port) {
					t.Errorf("%s %s:%d is forwarded", proto, ip, port)
				}
			}
			if proto == "udp" && forwarded(t, y.PortForwards, proto, ip, 29843) {
				t.Errorf("udp %s:29843 is forwarded", ip)
			}
		}
	}
	for _, port := range []int32{29843, 29844} {
		if !forwarded(t, y.PortForwards, "tcp", "127.0.0.1", port) {
			t.Errorf("port %d is not forwarded", port)
		}
	}
}

// Lima 2 reads an ignore rule for 0.0.0.0 as one for that address only, which
// is what guestIPMustBeZero says in Lima 1.
func TestForwardsAsLima2ReadsThem(t *testing.T) {
	y := load(t, render(t, templates.VM{HostOS: "linux", Arch: "amd64", Ports: []int{29843}}))
	for i := range y.PortForwards {
		y.PortForwards[i].GuestIPMustBeZero = y.PortForwards[i].GuestIP.IsUnspecified()
	}
	for _, ip := range []string{"127.0.0.1", "0.0.0.0", "::", "::1", "192.168.5.15"} {
		for _, proto := range []string{"tcp", "udp"} {
			if forwarded(t, y.PortForwards, proto, ip, 5355) {
				t.Error(fmt.Sprint(proto, " ", ip, " is forwarded"))
			}
		}
	}
}
