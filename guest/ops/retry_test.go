//go:build linux

package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
	"fuseless/guest/rsync"
	"fuseless/guest/store"
)

func TestPause(t *testing.T) {
	var got []int
	for n := 1; n <= 9; n++ {
		got = append(got, int(pause(n).Seconds()))
	}
	if want := []int{1, 2, 4, 8, 16, 32, 60, 60, 60}; !slices.Equal(got, want) {
		t.Errorf("pauses of %v s", got)
	}
	if pause(1<<30) != longestPause {
		t.Error("the pause grows for ever")
	}
}

func TestPatience(t *testing.T) {
	for _, c := range []struct {
		silent   int
		checksum bool
		want     time.Duration
	}{
		{0, false, time.Minute}, {1, false, 2 * time.Minute}, {6, false, time.Hour}, {1000, false, time.Hour},
		{0, true, 5 * time.Minute}, {1000, true, time.Hour},
	} {
		l := &link{silent: c.silent}
		if got := l.patience(c.checksum); got != c.want {
			t.Errorf("after %d silent tries (checksum %v): %v", c.silent, c.checksum, got)
		}
	}
}

// Only a link that was there is tried again.
func TestPersist(t *testing.T) {
	broke := (&proto.Error{Code: proto.Remote, Message: "it broke"}).Linked()
	wrapped := proto.Errorf(proto.Remote, "cannot list it: %w", broke)
	ended := &proto.Error{Code: proto.Remote, Message: "it ended", Err: errors.Join(proto.ErrLink, rsync.ErrEnded)}
	refused := proto.Errorf(proto.Remote, "the remote does not accept a key")
	for _, c := range []struct {
		name    string
		reached bool
		tries   int
		errs    []error // of the calls, in order
		check   error
		want    error
		calls   int
	}{
		{"success", true, 0, []error{nil}, nil, nil, 1},
		{"a link that broke", true, 0, []error{broke, nil}, nil, nil, 2},
		{"deep down", true, 0, []error{wrapped, nil}, nil, nil, 2},
		{"never reached", false, 0, []error{broke}, nil, broke, 1},
		{"refused", true, 0, []error{refused}, nil, refused, 1},
		{"refused at last", true, 0, []error{broke, refused}, nil, refused, 2},
		{"a number of tries", true, 2, []error{broke, broke}, nil, broke, 2},
		{"the remote's rsync alone", true, 0, []error{ended, nil}, nil, nil, 2},
		{"nothing to go on with", true, 0, []error{broke}, refused, refused, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &run{emit: proto.NewEmitter(io.Discard)}
			r.link.reached = c.reached
			calls := 0
			err := r.persist(t.Context(), c.tries, func() error { return c.check }, func() error {
				calls++
				return c.errs[calls-1]
			})
			if !errors.Is(err, c.want) || calls != c.calls {
				t.Errorf("%d calls and %v", calls, err)
			}
		})
	}
}

// The message says what happened, when it goes on, and what ends it, which it does.
func TestPersistIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	r := &run{emit: proto.NewEmitter(in)}
	r.link.reached = true
	end := make(chan error, 1)
	go func() {
		end <- r.persist(ctx, 0, nil, func() error {
			return (&proto.Error{Code: proto.Remote, Message: "it broke", Hint: "mend it"}).Linked()
		})
	}()
	b := make([]byte, 4096)
	n, err := out.Read(b)
	if err != nil || !strings.Contains(string(b[:n]), "it broke; trying again in 1 s (Ctrl-C ends the run") {
		t.Errorf("%v: %s", err, b[:n])
	}
	cancel()
	if err := <-end; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What a broken pass left goes where rsync looks for it, and nothing else moves.
func TestRescue(t *testing.T) {
	vault, image := t.TempDir(), t.TempDir()
	put := func(p string, size int) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, make([]byte, size), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("L", 255)
	names := map[string]bool{"first": true, "more": true, "less": true, "vanished": true, long: true}
	for n := range names {
		if n != "vanished" {
			put(filepath.Join(image, n), 1000)
		}
	}
	partial := filepath.Join(vault, rsync.PartialDir)
	put(filepath.Join(vault, ".first.a1B2c3"), 500)
	put(filepath.Join(vault, ".more.a1B2c3"), 500)
	put(filepath.Join(vault, ".more.XXXXXX"), 700)
	put(filepath.Join(partial, "more"), 400)
	put(filepath.Join(vault, ".less.a1B2c3"), 500)
	put(filepath.Join(partial, "less"), 600)
	put(filepath.Join(vault, ".vanished.a1B2c3"), 500)
	put(filepath.Join(vault, "."+long[:247]+".a1B2c3"), 300)
	put(filepath.Join(vault, "first"), 900) // the old version
	put(filepath.Join(vault, ".other.a1B2c3"), 500)
	put(filepath.Join(partial, "other"), 1)
	st, err := store.Open(t.Context(), proto.Destination{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := rescueIn(st, vault, image, names); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, dir := range []string{vault, partial} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if fi, err := e.Info(); err == nil && !e.IsDir() {
				rel, _ := filepath.Rel(vault, filepath.Join(dir, e.Name()))
				got = append(got, fmt.Sprint(rel, " ", fi.Size()))
			}
		}
	}
	slices.Sort(got)
	want := []string{
		".fuseless-partial/" + long + " 300", ".fuseless-partial/first 500", ".fuseless-partial/less 600",
		".fuseless-partial/more 700", ".fuseless-partial/other 1", ".other.a1B2c3 500", "first 900",
	}
	if !slices.Equal(got, want) {
		t.Errorf("after the rescue:\n%q, and not\n%q", got, want)
	}
}
