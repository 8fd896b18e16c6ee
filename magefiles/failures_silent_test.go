//go:build linux

package main_test

import (
	"fmt"
	"net"
	"syscall"
	"time"

	"fuseless/guest/proto"
)

// silence is a port of this machine at which nothing comes back: with the queue
// of a socket full, which nobody accepts from, Linux drops what asks for another
// connection (tcp_conn_request), as a firewall drops it.
func silence(l *lab) (port int, end func()) {
	l.t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(l.t, err)
	must(l.t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(l.t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	must(l.t, err)
	port = name.(*syscall.SockaddrInet4).Port
	var queued []net.Conn
	end = func() {
		for _, c := range queued {
			c.Close()
		}
		_ = syscall.Close(fd)
	}
	for {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 500*time.Millisecond)
		if err != nil {
			return port, end
		}
		if queued = append(queued, c); len(queued) > 100 {
			l.t.Fatal("the queue of a socket does not get full")
		}
	}
}

// silent lets the remote be a port at which nothing comes back.
func silent(l *lab) func() {
	port, end := silence(l)
	mend := boxConfig(func(*lab) [][2]string { return [][2]string{{"Port", fmt.Sprint(port)}} })(l)
	return func() { mend(); end() }
}

// mute lets the remote be a server that accepts a connection and says nothing.
func mute(l *lab) func() {
	s, err := net.Listen("tcp", "127.0.0.1:0")
	must(l.t, err)
	port := s.Addr().(*net.TCPAddr).Port
	mend := boxConfig(func(*lab) [][2]string { return [][2]string{{"Port", fmt.Sprint(port)}} })(l)
	return func() { mend(); s.Close() }
}

// silentFailures each take ssh's ConnectTimeout, 30 s. A remote that this run has
// not reached yet is not tried again.
var silentFailures = []failure{
	{group: "Remote", what: "nothing comes back, as from behind a firewall", on: alone3, args: []string{"backup"}, setup: silent, within: 40 * time.Second,
		want: "the remote cannot be reached (HOST): ssh: connect to host 127.0.0.1 port PORT: Connection timed out",
		hint: "check that this machine is online, and the port and firewall; `ssh HOST` must work",
		code: proto.Remote},
	{group: "Remote", what: "nothing comes back, and a view is to be opened", on: views, args: []string{"remoteMount"}, setup: silent, within: 40 * time.Second,
		want: "the remote cannot be reached (HOST): ssh: connect to host 127.0.0.1 port PORT: Connection timed out",
		hint: "check that this machine is online, and the port and firewall; `ssh HOST` must work",
		code: proto.Remote},
	{group: "Remote", what: "it accepts the connection and says nothing", on: alone3, args: []string{"backup"}, setup: mute, within: 40 * time.Second,
		want: "the remote cannot be reached (HOST): Connection timed out during banner exchange",
		hint: "check that this machine is online, and the port and firewall; `ssh HOST` must work",
		code: proto.Remote},
}
