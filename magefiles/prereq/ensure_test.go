package prereq

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

// machine is a folder in front of PATH with an apt-get (or another manager)
// that writes its argv to a log, and then runs the shell line install.
func machine(t *testing.T, manager, install string) (bin, log string) {
	t.Helper()
	bin, log = t.TempDir(), filepath.Join(t.TempDir(), "log")
	script(t, bin, manager, fmt.Sprintf("echo \"$DEBIAN_FRONTEND $*\" >> %q\n%s", log, install))
	// For an ordinary user; it drops what sudo -n -- precedes.
	script(t, bin, "sudo", `shift; shift; exec "$@"`)
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	return bin, log
}

func script(t *testing.T, dir, name, body string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func pretend(t *testing.T, os string) {
	old := goos
	goos = os
	t.Cleanup(func() { goos = old })
}

var (
	there = Need{Program: "true", Apt: "coreutils", Brew: "coreutils", Why: "is always there"}
	tool  = Need{Program: "fuseless-test-tool", Min: "2.0", VersionArgs: []string{"-V"}, Version: regexp.MustCompile(`tool (\S+)`),
		Apt: "tool-pkg", Brew: "tool-formula", Dnf: "tool-rpm", Why: "does the work"}
)

func read(t *testing.T, file string) string {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

func TestNothingMissingIsSilent(t *testing.T) {
	pretend(t, "linux")
	_, log := machine(t, "apt-get", "exit 1")
	var out bytes.Buffer
	if err := Ensure(t.Context(), []Need{there}, &out); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 0 || read(t, log) != "" {
		t.Errorf("said %q, ran %q", out.String(), read(t, log))
	}
}

func TestAptInstallsOnlyTheMissing(t *testing.T) {
	pretend(t, "linux")
	bin, log := machine(t, "apt-get", `case "$*" in *install*) cp "$0.tool" "${0%apt-get}fuseless-test-tool";; *) exit 100;; esac`)
	script(t, bin, "apt-get.tool", "echo tool 2.1")
	var out bytes.Buffer
	if err := Ensure(t.Context(), []Need{there, tool}, &out); err != nil {
		t.Fatal(err)
	}
	want := "noninteractive -q -o DPkg::Lock::Timeout=300 update\n" +
		"noninteractive -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends -- tool-pkg\n"
	if got := read(t, log); got != want {
		t.Errorf("ran\n%swant\n%s", got, want)
	}
	for _, s := range []string{"tool-pkg", tool.Why, "apt-get update failed"} {
		if !strings.Contains(out.String(), s) {
			t.Errorf("it does not say %q:\n%s", s, out.String())
		}
	}
}

func TestFailuresSayWhatToType(t *testing.T) {
	for _, c := range []struct {
		name, os, manager, install, hint string
		needs                            []Need
	}{
		{"apt fails", "linux", "apt-get", "echo E: broken >&2; exit 100", "sudo apt-get update && sudo apt-get install --no-install-recommends tool-pkg", []Need{tool}},
		{"too old after installing", "linux", "apt-get", `printf '#!/bin/sh\necho tool 1.9\n' > "${0%apt-get}fuseless-test-tool"; chmod 755 "${0%apt-get}fuseless-test-tool"`, "newer", []Need{tool}},
		{"brew fails", "darwin", "brew", "exit 1", "brew install tool-formula", []Need{tool}},
		{"no formula", "darwin", "brew", "", "fuseless-test-tool", []Need{{Program: tool.Program, Apt: "x", Why: "y"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pretend(t, c.os)
			machine(t, c.manager, c.install)
			err := Ensure(t.Context(), c.needs, &bytes.Buffer{})
			var e *proto.Error
			if !errors.As(err, &e) || e.Code != proto.Prerequisite || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestUnknownManagerGetsTheCommand(t *testing.T) {
	for manager, want := range map[string]string{
		"dnf": "sudo dnf install tool-rpm", "pacman": "sudo pacman -S tool-pkg", "": "Debian's names): tool-pkg",
	} {
		if got := hintFor(manager, []string{packageOf(manager, tool)}); !strings.Contains(got, want) {
			t.Errorf("%q: %q", manager, got)
		}
	}
}

func TestTooOldAndUnreadable(t *testing.T) {
	bin, _ := machine(t, "apt-get", "")
	for output, want := range map[string]State{"tool 1.9": TooOld, "tool 2.0": Present, "gibberish": Unreadable} {
		script(t, bin, tool.Program, "echo "+output+" >&2; exit 3")
		if got := check(t.Context(), tool); got.State != want || got.Path != filepath.Join(bin, tool.Program) {
			t.Errorf("%q: %+v, want %v", output, got, want)
		}
	}
}

func TestNoFuse(t *testing.T) {
	pretend(t, "linux")
	old := fuseDevice
	fuseDevice = filepath.Join(t.TempDir(), "fuse")
	t.Cleanup(func() { fuseDevice = old })
	n := there
	n.Fuse = true
	err := Ensure(t.Context(), []Need{n}, &bytes.Buffer{})
	if proto.CodeOf(err) != proto.Prerequisite || !strings.Contains(err.Error(), "modprobe fuse") {
		t.Errorf("error %v", err)
	}
}

// TestRealPrograms is the tables against this machine: whatever is installed
// must be recognised.
func TestRealPrograms(t *testing.T) {
	for _, s := range Check(t.Context(), append(LocalGuest(), Tests()...)) {
		t.Log(s.Path, s)
		if s.State == Unreadable {
			t.Errorf("%s: its version cannot be read", s.Path)
		}
	}
}
