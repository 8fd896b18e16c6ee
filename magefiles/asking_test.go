//go:build linux

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// asking is a request that a reader makes.
type asking struct {
	reader
	kind           cutKind
	a              access
	folder, to     string
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	done           chan struct{}
	began, at      time.Time // at when it ended
}

// ask begins a request for what is in a folder.
func (r reader) ask(kind cutKind, a access, folder string) *asking {
	to := a.lab.path("got/" + strings.ReplaceAll(folder, "/", "-"))
	must(a.lab.t, os.RemoveAll(to))
	k := &asking{reader: r, kind: kind, a: a, folder: folder, to: to, began: time.Now(), done: make(chan struct{})}
	k.cmd = kind.begin(r, a, folder, to)
	k.cmd.Stdout, k.cmd.Stderr = &k.stdout, &k.stderr
	must(a.lab.t, k.cmd.Start())
	go func() {
		_ = k.cmd.Wait()
		k.at = time.Now()
		close(k.done)
	}()
	return k
}

func (k *asking) ended() bool {
	select {
	case <-k.done:
		return true
	default:
		return false
	}
}

// outcome is how a request has ended: with all that it asked for, with an error, or with
// something else, which is an errLie.
func (k *asking) outcome() error {
	code := k.cmd.ProcessState.ExitCode()
	if code != 0 {
		said := strings.TrimSpace(k.stderr.String())
		err := fmt.Errorf("code %d: %s", code, said)
		switch {
		case k.absent(code, said) && k.name == "davfs2": // where a folder above could not be listed
			err = fmt.Errorf("%w above it: %w", errEmpty, err)
		case k.absent(code, said):
			err = fmt.Errorf("%w: %w", errLie, err)
		}
		// curl alone leaves what it has got; others are to have nothing under that name.
		if _, serr := os.Stat(k.to); serr == nil && k.name != "curl" {
			err = fmt.Errorf("%w: there is %s after %w", errLie, k.to, err)
		}
		return err
	}
	err := k.kind.right(k)
	if err != nil && err != errEmpty {
		err = fmt.Errorf("%w: %w", errLie, err)
	}
	return err
}

// judge waits until a request has ended, which is to be by a time, and says how.
func (k *asking) judge(what string, by time.Time) error {
	t := k.a.lab.t
	select {
	case <-k.done:
	case <-time.After(time.Until(by) + time.Minute):
		t.Errorf("%s, %s: it does not end", what, k.name)
		_ = k.cmd.Process.Kill()
		<-k.done
	}
	err := k.outcome()
	if k.at.After(by) {
		t.Errorf("%s, %s: %v too late: %v", what, k.name, k.at.Sub(by), err)
	}
	if errors.Is(err, errLie) {
		t.Errorf("%s, %s: %v", what, k.name, err)
	}
	return err
}
