package lima

import (
	"os"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
)

// A VM that is not ready in time: what it waited for, and how the next run goes on.
func TestBootTimeout(t *testing.T) {
	i, log := faked(t)
	if err := os.WriteFile(log+".never", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := i.Converge(t.Context(), withGuest(t, "one"), Options{Timeout: 3 * time.Minute})
	if e := codeAndHint(t, err, failed); !strings.Contains(e.Message, "was not ready after 3m0s") || !strings.Contains(e.Hint, i.Dir()) {
		t.Errorf("got %v", err)
	}
	if s := i.Quick(); s != Starting {
		t.Errorf("it is %s", s)
	}
	if p := i.Plan(withGuest(t, "one")); p != Started {
		t.Errorf("the next run would say %s: it goes on waiting", p)
	}
}

func TestNoQEMU(t *testing.T) {
	dirs := systemDirs
	systemDirs = nil
	defer func() { systemDirs = dirs }()
	t.Setenv("PATH", t.TempDir())
	err := NeedQEMU()
	if e := codeAndHint(t, err, proto.Prerequisite); !strings.Contains(e.Message, "qemu-system-") || !strings.Contains(e.Message, "qemu-img") ||
		!strings.Contains(e.Hint, "apt-get install") {
		t.Errorf("got %v", err)
	}
}
