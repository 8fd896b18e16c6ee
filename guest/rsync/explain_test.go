package rsync

import (
	"errors"
	"testing"

	"fuseless/guest/proto"
	"fuseless/guest/remote"
)

// What a remote cannot write is no fault of the link, though the pipe to its
// rsync breaks, and must not be tried for ever.
func TestExplainIsNotTheLink(t *testing.T) {
	run := Run{Socket: "/x", Explain: func(stderr string, exit int) *proto.Error { return remote.Explain(stderr, exit, "u@h", "") }}
	const pipe = "rsync: [sender] write error: Broken pipe (32)"
	for _, c := range []struct {
		name       string
		code       int
		errors     []string
		link, ends bool
		want       proto.Code
	}{
		{"a file that is too large", 11, []string{`rsync: [receiver] write failed on "/v/x": File too large (27)`, pipe}, false, false, proto.Mount},
		{"the same, seen as a protocol error", 12, []string{pipe, `rsync: [receiver] write failed on "/v/x": Input/output error (5)`}, false, false, proto.Mount},
		{"a pipe that broke, and no word of ssh", 12, []string{pipe}, true, true, proto.Remote},
		{"a pipe that broke, and ssh says why", 12, []string{pipe, "Connection to h closed by remote host."}, true, false, proto.Remote},
		{"nothing was ever said", 255, []string{"rsync: connection unexpectedly closed (0 bytes received so far) [sender]"}, true, true, proto.Remote},
	} {
		err := run.explain(&Result{Code: c.code, Errors: c.errors})
		if proto.CodeOf(err) != c.want || errors.Is(err, proto.ErrLink) != c.link || errors.Is(err, ErrEnded) != c.ends {
			t.Errorf("%s: %d %v, the link's: %v, counted: %v", c.name, proto.CodeOf(err), err, errors.Is(err, proto.ErrLink), errors.Is(err, ErrEnded))
		}
	}
}
