package privilege

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

func asUser(t *testing.T, id int) {
	old := euid
	euid = func() int { return id }
	t.Cleanup(func() { euid = old })
}

// program makes an executable that exits with the given status after printing
// to standard error, and returns its folder.
func program(t *testing.T, name, body string) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSbinIsFoundWithoutPath(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	p, err := LookPath("true")
	if err != nil || !filepath.IsAbs(p) {
		t.Fatalf("LookPath(true) = %q, %v", p, err)
	}
	if _, err := LookPath("surely-no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("error %v is not exec.ErrNotFound", err)
	}
}

func TestRelativePathEntriesAreNotFollowed(t *testing.T) {
	dir := program(t, "evil-tool", "exit 0")
	t.Chdir(dir)
	t.Setenv("PATH", ".:")
	if p, err := LookPath("evil-tool"); err == nil {
		t.Fatalf("found %s through a relative PATH entry", p)
	}
}

func TestAsRoot(t *testing.T) {
	dir := program(t, "sudo", "exit 0")
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	trueAt, _ := LookPath("true")

	asUser(t, 0)
	if got, err := AsRoot([]string{"true", "a b"}); err != nil || !slices.Equal(got, []string{trueAt, "a b"}) {
		t.Fatalf("as root: %q, %v", got, err)
	}
	asUser(t, 1000)
	want := []string{filepath.Join(dir, "sudo"), "-n", "--", trueAt, "a b"}
	if got, err := AsRoot([]string{"true", "a b"}); err != nil || !slices.Equal(got, want) {
		t.Fatalf("as a user: %q, %v; want %q", got, err, want)
	}
	if _, err := AsRoot([]string{"surely-no-such-program"}); proto.CodeOf(err) != proto.Prerequisite {
		t.Fatalf("missing program: %v", err)
	}
}

func TestRefusalOfSudoIsAPrerequisite(t *testing.T) {
	asUser(t, 1000)
	for _, words := range []string{
		"sudo: a password is required",
		"Sorry, user eve is not allowed to execute '/bin/true' as root on vm.",
		"eve is not in the sudoers file.",
	} {
		t.Setenv("PATH", program(t, "sudo", `echo "`+words+`" >&2; exit 1`)+":/usr/bin:/bin")
		if err := Check(t.Context()); proto.CodeOf(err) != proto.Prerequisite {
			t.Errorf("%q: %v", words, err)
		}
	}
	// The command's own failure must keep its meaning.
	t.Setenv("PATH", program(t, "sudo", `echo "umount: target is busy: a password is required" >&2; exit 1`)+":/usr/bin:/bin")
	err := Run(t.Context(), proc.Cmd{Argv: []string{"true"}})
	if proto.CodeOf(err) == proto.Prerequisite || proc.ExitCode(err) != 1 {
		t.Errorf("the command's failure became %v", err)
	}
}
