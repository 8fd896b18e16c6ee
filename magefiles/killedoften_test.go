//go:build linux

package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fuseless/magefiles/compare"
)

// kills is how many runs TestKilledBackups kills, in killLabs labs side by side.
const kills, killLabs = 50, 5

// victims are the programs of a run, by the names that the kernel shows.
var victims = []string{"fuseless", "fuseless-guest", "rsync", "gocryptfs", "ssh"}

// change makes what happens to a source between two runs: files come, change,
// get another name, and go.
func (l *lab) change(r *rand.Rand) {
	l.t.Helper()
	var files []string
	for _, p := range filesBelow(l.source) {
		if fi, err := os.Lstat(p); err == nil && fi.Mode().IsRegular() && !strings.HasPrefix(filepath.Base(p), ".gocryptfs") {
			rel, _ := filepath.Rel(l.source, p)
			files = append(files, rel)
		}
	}
	pick := func() string {
		i := r.IntN(len(files))
		f := files[i]
		files = append(files[:i], files[i+1:]...)
		return f
	}
	l.round++
	l.write(fmt.Sprintf("folder %d/added %d", r.IntN(5), l.round), strings.Repeat("added ", r.IntN(100_000)))
	l.write(pick(), fmt.Sprintf("changed in round %d", l.round))
	from := pick()
	to := fmt.Sprintf("folder %d/renamed %d", r.IntN(5), l.round)
	must(l.t, os.MkdirAll(filepath.Dir(filepath.Join(l.source, to)), 0o755))
	must(l.t, os.Rename(filepath.Join(l.source, from), filepath.Join(l.source, to)))
	if len(files) > 20 {
		l.remove(pick())
	}
}

// TestKilledBackups kills a process of each of 50 runs, at any moment, while
// the source changes from run to run. One run that is left alone then makes all
// good: the vault is the source, nothing is left, and what was in the vault
// before is still somewhere.
func TestKilledBackups(t *testing.T) {
	begun := time.Now()
	var mu sync.Mutex
	hit := map[string]int{}
	t.Run("labs", func(t *testing.T) {
		for n := range killLabs {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				seed := rand.Uint64()
				fmt.Printf("killed backups: lab %d has the seed %d\n", n, seed)
				r := rand.New(rand.NewPCG(seed, 0))
				l := newLab(t).started()
				was := l.onRemote()
				took := 1500 * time.Millisecond
				for i := range kills / killLabs {
					l.change(r)
					name := l.killOne(r, victims[(i+n)%len(victims)], &took)
					for name == "" { // that run was over before
						took = took * 3 / 4
						l.change(r)
						name = l.killOne(r, "fuseless", &took)
					}
					mu.Lock()
					hit[name]++
					mu.Unlock()
				}
				l.ok("backup", "-allowDelete")
				l.vaultIsSource()
				l.stillSomewhere(was)
				if left := lasting(l.left); len(left) > 0 {
					t.Errorf("after a clean run there is left: %q", left)
				}
				l.ok("backup")
				l.nothingSent()
			})
		}
	})
	if !t.Failed() {
		fmt.Printf("killed backups: %d, %v, the vault equals the source, %s\n", kills, hit, time.Since(begun).Round(time.Second))
	}
}

// killOne kills a process of a run of backup at a random time of it, and returns
// its name; "" if there was none any more.
func (l *lab) killOne(r *rand.Rand, victim string, took *time.Duration) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := l.command(ctx, "backup", "-allowDelete")
	begun := time.Now()
	must(l.t, c.Start())
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	defer func() { <-ended }()
	wait := time.After(time.Duration(r.Int64N(int64(*took))))
	select {
	case <-wait:
	case <-ended: // it was quicker than the ones before
		*took = time.Since(begun)
		return ""
	}
	for {
		select {
		case <-ended:
			return ""
		default:
		}
		for _, pid := range descendants(c.Process.Pid) {
			name, _ := stat(pid)
			if name == "exe" || strings.HasPrefix("fuseless-guest", name) && len(name) > 8 {
				name = "fuseless-guest" // 15 bytes of it
			}
			if name == victim && (victim != "fuseless" || pid == c.Process.Pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				return victim
			}
		}
		time.Sleep(time.Millisecond) // until it is there; nothing tells
	}
}

// stillSomewhere fails if contents that were in the vault are neither there nor
// in the trash.
func (l *lab) stillSomewhere(was compare.Tree) {
	l.t.Helper()
	sums := map[any]bool{}
	for _, e := range l.onRemote().Entries {
		if e.Kind == compare.File {
			sums[e.Sum] = true
		}
	}
	for p, e := range was.Entries {
		if e.Kind == compare.File && !sums[e.Sum] && !strings.Contains(p, "gocryptfs.") {
			l.t.Errorf("the contents of %s are gone", p)
		}
	}
}
