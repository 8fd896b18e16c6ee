//go:build linux

// Package main_test tests the compiled task binary, that is what a person
// types, from one end to the other: real gocryptfs, rsync, sshfs, davfs2, and
// a remote over ssh. Each test has a home, a source, a remote and a runtime
// folder of its own, and afterwards nothing of it may be left.
package main_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fuseless/magefiles/bench"
	"fuseless/magefiles/guestbin"
)

// fuseless is the compiled task binary.
var fuseless string

func TestMain(m *testing.M) {
	bench.Become(os.Args[0])
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	tmp, err := os.MkdirTemp("", "fuseless-task-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // an ordinary user runs it, too
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := cheapKeys(filepath.Join(tmp, "cheap")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Under nohup SIGHUP is ignored, here and in what the tests start, which rightly
	// do not end by it then. A signal that is caught is not ignored after exec.
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// As `go tool mage install` does it in a checkout.
	if fuseless, err = guestbin.Install(ctx, tmp); err != nil {
		fmt.Fprintln(os.Stderr, "compile the task binary:", err)
		return 1
	}
	return m.Run()
}

// What PATH was, and gocryptfs in it, before cheapKeys.
var pathBefore, realGocryptfs string

// cheapKeys has the tests' new vaults made with scrypt's least cost (gocryptfs(1), -scryptn): the
// default one takes a quarter of a second of a processor at each use, which was a third of what the tests
// took. TestDemoAsUser and e2e have it. Else gocryptfs is the real one, in the same process.
func cheapKeys(dir string) error {
	pathBefore = os.Getenv("PATH")
	real, err := exec.LookPath("gocryptfs")
	if err != nil {
		return nil // the tests that need it skip
	}
	realGocryptfs = real
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	script := fmt.Sprintf(`#!/bin/bash
for a; do
	[ "$a" = -init ] && set -- -scryptn=10 "$@"
done
exec -a gocryptfs %q "$@"
`, real)
	if err := os.WriteFile(filepath.Join(dir, "gocryptfs"), []byte(script), 0o755); err != nil {
		return err
	}
	return os.Setenv("PATH", dir+":"+pathBefore)
}

// needs skips a test for which this machine lacks something.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("there is no /dev/fuse")
	}
	for _, p := range append([]string{"gocryptfs", "gocryptfs-xray", "rsync", "sshfs", "ssh", "fusermount3"}, programs...) {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(p, " is not installed")
		}
	}
}

// needsDavFS is needs for a test that mounts on the host.
func needsDavFS(t *testing.T) {
	t.Helper()
	needs(t, "mount.davfs")
	if os.Getuid() != 0 {
		t.Skip("davfs2 needs root; as an ordinary user TestDemoAsUser mounts it")
	}
}

// TestScripts runs the command line's own scripts.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("..", "testdata", "script"),
		Setup: func(e *testscript.Env) error {
			bin := filepath.Join(e.WorkDir, ".bin")
			if err := os.Mkdir(bin, 0o755); err != nil {
				return err
			}
			home := filepath.Join(e.WorkDir, ".home")
			if err := os.Mkdir(home, 0o755); err != nil {
				return err
			}
			e.Setenv("HOME", home)
			e.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			return os.Symlink(fuseless, filepath.Join(bin, "fuseless"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fuseless": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg {
					ts.Fatalf("use exits, which names the code")
				}
				exits(ts, neg, append([]string{"0", "fuseless"}, args...))
			},
			"exits": exits,
		},
	})
}

// exits runs a program that is to end with a certain code: exits CODE PROGRAM
// ARG... Testscript itself knows only success and failure. The program has a
// session of its own, so that the terminal of who runs the tests is not its.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	err := ts.Exec("setsid", append([]string{"--wait"}, args[1:]...)...)
	code := 0
	var x *exec.ExitError
	if errors.As(err, &x) {
		code = x.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("%s ended with %d, not %s", args[1], code, args[0])
	}
}
