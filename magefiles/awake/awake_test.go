package awake

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// The options as in the manual pages: caffeinate(8) of macOS 14, systemd-inhibit(1) of systemd 252.
func TestArgv(t *testing.T) {
	for goos, want := range map[string][]string{
		"darwin":  {"caffeinate", "-i", "-w", "4711"},
		"linux":   {"systemd-inhibit", "--what=sleep:idle", "--who=fuseless", "--why=backup", "--mode=block", "cat"},
		"windows": nil,
	} {
		if got := Argv(goos, 4711, "backup"); !slices.Equal(got, want) {
			t.Errorf("%s: %q", goos, got)
		}
	}
}

// TestNothingThere: a system without the program, or one that refuses, is no
// hindrance.
func TestNothingThere(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	Start("backup")()
	name := Argv(runtime.GOOS, 1, "")[0]
	if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	stop := Start("backup")
	stop()
}
