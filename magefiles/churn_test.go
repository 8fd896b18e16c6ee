//go:build linux

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"fuseless/guest/proto"
)

// folders is how many folders the churning source has.
const folders = 20

// renew deletes folders and makes them again in the opposite order, with other
// files in them. So they get each other's inode numbers, which is what leads
// gocryptfs before 2.5.0 astray.
func (l *lab) renew(round int, which ...int) error {
	dir := func(i int) string { return filepath.Join(l.source, fmt.Sprintf("folder %d", i)) }
	for _, i := range which {
		if err := os.RemoveAll(dir(i)); err != nil {
			return err
		}
	}
	for _, i := range slices.Backward(which) {
		if err := os.MkdirAll(filepath.Join(dir(i), "inner", "most"), 0o755); err != nil {
			return err
		}
		for n := range 3 {
			for _, sub := range []string{"", "inner", "inner/most"} {
				p := filepath.Join(dir(i), sub, fmt.Sprintf("file %d", n))
				if err := os.WriteFile(p, fmt.Appendf(nil, "folder %d, file %d, round %d", i, n, round), 0o644); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// renewAll renews all folders.
func (l *lab) renewAll(round int) {
	l.t.Helper()
	var all []int
	for i := range folders {
		all = append(all, i)
	}
	if round%2 == 1 {
		slices.Reverse(all)
	}
	must(l.t, l.renew(round, all...))
}

// TestChurn: folders are deleted and made anew between runs, and all the while
// that backups run.
func TestChurn(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.renewAll(0)
	l.ok("init")
	l.ok("backup")
	for round := range 2 {
		l.renewAll(1 + round)
		l.ok("backup")
		l.sameAsSource()
	}
	stop := make(chan struct{})
	var work sync.WaitGroup
	var failure error
	work.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if failure = l.renew(100+n, n*7%folders, (n*7+1)%folders, (n*7+2)%folders); failure != nil {
				return
			}
		}
	})
	for range 4 {
		// Files vanish under rsync's eyes; a run either notices or was lucky.
		switch r := l.run("backup"); r.code {
		case proto.OK, proto.Incomplete, proto.Consent:
		case proto.Mount:
			// gocryptfs may go round in circles (its limit); that ends the run, which says so.
			l.says(r, proto.Mount, "gocryptfs", "hint: run it again; nothing was deleted")
			t.Log(r)
		default:
			t.Errorf("backup during churn: %s", r)
		}
	}
	close(stop)
	work.Wait()
	must(t, failure)
	l.ok("backup", "-allowDelete")
	l.sameAsSource()
	l.ok("backup")
	l.nothingSent()
}

// TestReverseMountHasALimit: a gocryptfs that goes round in circles, as it can while
// folders are deleted and made anew under it, ends before it has all memory.
func TestReverseMountHasALimit(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.fill()
	l.ok("init")
	limited := 0
	r := l.hooked(func(call) string {
		for _, pid := range processes(l.source) {
			if !isProgram(pid, "gocryptfs") {
				continue
			}
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
			must(t, err)
			_, line, _ := strings.Cut(string(b), "Max data size")
			line, _, _ = strings.Cut(line, "\n")
			if strings.Contains(line, "unlimited") {
				t.Errorf("its limit is %s", line)
			}
			limited++
		}
		return ""
	}, "backup")
	l.says(r, proto.OK)
	if limited == 0 {
		t.Error("no gocryptfs was there to look at")
	}
}

// TestChurnUnderOneMount makes sure of what in TestChurn is a matter of luck:
// all folders are deleted and made anew while one reverse mount stays up, and
// rsync reads them both before and after. gocryptfs before 2.5.0 then serves
// wrong directory IVs (gocryptfs#802), with which nothing in a folder can be
// decrypted.
func TestChurnUnderOneMount(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.renewAll(0)
	l.ok("init")
	l.ok("backup")

	// As one that takes hours, rsync reads the folders early and again late.
	half := l.pauseRsync(true)

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := l.command(ctx, "backup")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	must(t, c.Start())
	half.wait()
	l.renewAll(1)
	half.goOn()
	switch code := exitCode(t, c.Wait()); code {
	case proto.OK, proto.Incomplete, proto.Consent:
	default:
		t.Errorf("backup during churn: %d %s", code, stderr.String())
	}
	l.ok("backup", "-allowDelete")
	l.sameAsSource()
	l.ok("backup")
	l.nothingSent()
}
