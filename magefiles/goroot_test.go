//go:build linux

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

// TestGOROOT: a large tree that nobody here wrote, the Go installation, comes
// back on a new machine as it was: there is a new home, and a configuration with
// the destination alone; somebody types the passphrase.
func TestGOROOT(t *testing.T) {
	needs(t, "diff", "cp")
	t.Parallel()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	must(t, err)
	goroot := strings.TrimSpace(string(out))
	l := newLab(t)
	must(t, os.RemoveAll(l.source))
	if out, err := exec.Command("cp", "-a", "--", goroot, l.source).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	must(t, os.Chmod(l.source, 0o755)) // it may be without write permission
	l.ok("init")                       // which adds its file to the source
	want := snapshot(t, l.source)
	if n := len(want.Entries); n < 10_000 {
		t.Fatalf("%s has only %d entries", goroot, n)
	}
	l.ok("backup")
	l.ok("down")

	// The disk is gone.
	for _, dir := range []string{l.source, l.home, filepath.Join(l.mem, "run")} {
		must(t, os.RemoveAll(dir))
	}
	must(t, os.Remove(l.configFile()))
	for _, dir := range []string{l.home, filepath.Join(l.mem, "run")} {
		must(t, os.Mkdir(dir, 0o700))
	}
	must(t, os.WriteFile(l.configFile(), fmt.Appendf(nil, "vaults:\n  %s:\n    destination: %s:backup/%s\n", vaultName, l.alias, vaultName), 0o600))
	l.env = append(l.env, "FUSELESS_SSH_CONFIG="+l.ssh) // as ~/.ssh/config is for a person

	to := l.path("restored")
	shown, code := l.onTerminal("assphrase", passphrase, "restore", "-to="+to)
	if code != proto.OK || strings.Contains(shown, "warning:") {
		t.Fatalf("restore ends with %d: %s", code, shown)
	}
	if out, err := exec.Command("diff", "-r", "--no-dereference", "--", goroot, to).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("diff: %v: %.2000s", err, out)
	}
	l.judge(want, snapshot(t, to), "forward")
	gone(t, to+".fuseless-restoring")
}
