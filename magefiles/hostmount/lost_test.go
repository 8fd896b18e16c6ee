package hostmount

import (
	"fmt"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

func TestLostIsSaidOnOneLineEach(t *testing.T) {
	k := keptFolder{dir: "/dev/shm/k", files: []string{"/dev/shm/k/a\x1b[2J\nb"}}
	for i := range 30 {
		k.files = append(k.files, fmt.Sprint("/dev/shm/k/", i))
	}
	err := lost{now: []keptFolder{k}}.err()
	if proto.CodeOf(err) != proto.Incomplete {
		t.Errorf("code %v", proto.CodeOf(err))
	}
	s := err.Error()
	if strings.ContainsRune(s, '\x1b') || !strings.Contains(s, "\n  \"/dev/shm/k/a\\x1b[2J\\nb\"\n") {
		t.Errorf("a name reaches the terminal as it is: %q", s)
	}
	if !strings.Contains(s, "31 files did not") || !strings.Contains(s, "\n  and 11 more in /dev/shm/k\n") || strings.Count(s, "\n") != 22 {
		t.Error(s)
	}
}
