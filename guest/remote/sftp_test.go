package remote

import (
	"bufio"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"

	"fuseless/guest/proto"
)

// session begins an sftp session with a bridge that ends with exit when the
// server does. Frames go through hold, which may wait.
func session(t *testing.T, exit Exit, hold func(), quit <-chan struct{}) *Session {
	t.Helper()
	socket := serve(t, func(c *net.UnixConn, r *bufio.Reader, w *FrameWriter) {
		_, _ = ReadRequest(r)
		ours, theirs := net.Pipe()
		srv, err := sftp.NewServer(theirs)
		if err != nil {
			t.Error(err)
			return
		}
		go func() { _ = srv.Serve() }()
		go func() { <-quit; ours.Close(); theirs.Close() }()
		go func() { _ = copyBytes(ours, r) }()
		buf := make([]byte, 1<<16)
		for {
			n, err := ours.Read(buf)
			if err != nil {
				break
			}
			hold()
			if w.frame(frameStdout, append(make([]byte, header), buf[:n]...)) != nil {
				break
			}
		}
		_ = w.Exit(exit)
	})
	conn, err := Dial(t.Context(), socket, Request{Service: ServiceSFTP}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenSession(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A server that hangs ends the session, and one that is only slow, or not asked
// anything, does not.
func TestSessionNoticesSilence(t *testing.T) {
	defer func(d time.Duration) { answerTime = d }(answerTime)
	answerTime = 200 * time.Millisecond
	quit, slow := make(chan struct{}), time.Duration(0)
	defer close(quit)
	hang := make(chan struct{})
	defer close(hang)
	hung := false
	s := session(t, Exit{}, func() {
		time.Sleep(slow)
		if hung {
			<-hang
		}
	}, quit)
	dir := t.TempDir()
	slow = answerTime / 2
	if err := s.Do(func() error { // in all longer than answerTime
		for range 4 {
			if _, err := s.Lstat(dir); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Error("a slow server: ", err)
	}
	time.Sleep(2 * answerTime) // nothing is asked
	if err := s.Do(func() error { _, err := s.Lstat(dir + "/nothing"); return err }); !errors.Is(err, os.ErrNotExist) {
		t.Error("after a pause: ", err)
	}
	hung = true
	err := s.Do(func() error { _, err := s.Lstat(dir); return err })
	if !errors.Is(err, proto.ErrLink) || proto.CodeOf(err) != proto.Remote || !strings.Contains(err.Error(), "has not answered for") {
		t.Error("a hung server: ", err)
	}
}

// A session that breaks says why, as the host's ssh has it.
func TestSessionBreaks(t *testing.T) {
	quit := make(chan struct{})
	s := session(t, Exit{Code: ExitLost, Kind: proto.Remote, Error: "the remote cannot be reached (u@h)", Hint: "look"}, func() {}, quit)
	close(quit)
	err := s.Do(func() error { _, err := s.Lstat("/"); return err })
	if !errors.Is(err, proto.ErrLink) || !strings.Contains(err.Error(), "cannot be reached (u@h)") {
		t.Error(err)
	}
}

// What blames the link is tried again, and nothing else.
func TestExplainLink(t *testing.T) {
	texts := map[string]bool{}
	for _, m := range messages {
		texts[m.text] = true
		e := Explain(m.any[0], ExitLost, "u@h", "")
		if e == nil {
			t.Errorf("%q is not explained", m.any[0])
		} else if strings.HasPrefix(e.Message, m.text) && errors.Is(e, proto.ErrLink) != ofLink[m.text] {
			t.Errorf("%q: the link's: %v", m.text, !ofLink[m.text])
		}
	}
	for text := range ofLink {
		if !texts[text] {
			t.Errorf("no message says %q", text)
		}
	}
	for stderr, want := range map[string]bool{
		"":                                      true,
		"Timeout, server h not responding.\r\n": true,
		"Connection to h closed by remote host.\r\n":                                                   true,
		"ssh: connect to host h port 22: Connection refused\r\n":                                       true,
		"ssh: Could not resolve hostname h: Temporary failure in name resolution":                      true,
		"Host key verification failed.\r\n":                                                            false,
		"u@h: Permission denied (publickey).\r\n":                                                      false,
		"fuseless: the way to the remote is not open: dial unix /x: connect: connection refused\nhint": false,
		"exec request failed on channel 0\r\n":                                                         false,
		"the host refuses the rsync argument \"--new\"\n":                                              false,
		"bash: rsync: command not found\n":                                                             false,
	} {
		if e := Explain(stderr, ExitLost, "u@h", ""); errors.Is(e, proto.ErrLink) != want {
			t.Errorf("%q: the link's: %v", stderr, !want)
		}
	}
}

func TestApart(t *testing.T) {
	args := []string{"--server", "-vlHogtpre.iLsfxCIvu", "--partial-dir", "I.I", ".", "vault"}
	got := apart(args)
	if want := "--server -vlHogtpre.iLsfxCvu --partial-dir I.I . vault"; strings.Join(got, " ") != want {
		t.Errorf("got %q", got)
	}
	if args[1] != "-vlHogtpre.iLsfxCIvu" {
		t.Error("the arguments themselves were changed")
	}
}
