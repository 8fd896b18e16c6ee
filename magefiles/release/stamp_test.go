package release

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
)

// git runs git in dir, with nobody's configuration.
func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	c := exec.Command("git", append([]string{"-c", "user.name=me", "-c", "user.email=me@example.org", "-C", dir}, args...)...)
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_COMMITTER_DATE=1795457483 +0100")
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v: %s", args, err, said)
	}
}

func TestStamp(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	m := maker{src: t.TempDir()}
	is := func(asked, version string, when time.Time) string {
		t.Helper()
		got, date, err := m.stamp(t.Context(), asked)
		must(t, err)
		if !strings.HasPrefix(got, version) || !date.Equal(when) {
			t.Errorf("got %s of %s, want %s of %s", got, date, version, when)
		}
		if date.Location() != time.UTC {
			t.Errorf("the date is in %s", date.Location())
		}
		return got
	}
	commit := time.Unix(1795457483, 0)
	is("", "0.0.0-dev", noCommit)
	is("v1.0.0", "1.0.0", noCommit)

	file := filepath.Join(m.src, "file")
	must(t, os.WriteFile(file, []byte("a"), 0o644))
	git(t, m.src, "init", "-q")
	_, _, err := m.stamp(t.Context(), "")
	var e *proto.Error
	if !errors.As(err, &e) || e.Code != proto.Prerequisite || !strings.Contains(e.Hint, "-version=") {
		t.Errorf("without a commit: %v", err)
	}
	git(t, m.src, "add", ".")
	git(t, m.src, "commit", "-qm", "first")
	if v := is("", "0.0.0-dev.g", commit); len(v) != len("0.0.0-dev.g0123456789ab") {
		t.Errorf("got %s", v)
	}
	git(t, m.src, "tag", "nightly")
	is("", "0.0.0-dev.g", commit)
	git(t, m.src, "tag", "v1.2.0")
	if v := is("", "1.2.0", commit); v != "1.2.0" {
		t.Errorf("got %s", v)
	}
	is("1.3.0-rc.1", "1.3.0-rc.1", commit)
	must(t, os.WriteFile(file, []byte("b"), 0o644))
	if v := is("", "1.2.0-dirty", commit); v != "1.2.0-dirty" {
		t.Errorf("got %s", v)
	}
	git(t, m.src, "commit", "-qam", "second")
	is("", "1.2.0-1-g", commit)

	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	is("", "1.2.0-1-g", time.Unix(86400, 0))
}
