//go:build linux

package main_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"fuseless/guest/mounts"
	"fuseless/guest/proto"
)

// TestReadAhead: the kernel reads far ahead in both mounts of an open vault, or it
// is said that it cannot.
func TestReadAhead(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	r := l.ok("remoteMount")
	const slow = "large files come slowly over a long link: only root may"
	if os.Getuid() != 0 {
		l.says(r, proto.OK, slow)
		l.ok("close")
		return
	}
	if strings.Contains(r.stderr, slow) {
		t.Errorf("as root: %s", r)
	}
	s := l.status()
	for _, p := range []string{s.Remote.Path, s.View.Path} {
		m, err := mounts.Find(p)
		must(t, err)
		b, err := os.ReadFile(fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", m.Major, m.Minor))
		must(t, err)
		if got := strings.TrimSpace(string(b)); got != "4096" {
			t.Errorf("in %s (%s) the kernel reads %s KiB ahead", p, m.FSType, got)
		}
	}
	l.ok("close")
	l.asUser()
	l.says(l.run("remoteMount"), proto.OK, slow)
	l.ok("close")
}
