// Package bench measures what fuseless costs.
package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// programs are those of which the memory is told, by the names of their
// processes. A name in /proc has at most 15 bytes.
var programs = []string{"fuseless", "fuseless-guest", "dial", "rsync", "gocryptfs", "ssh"}

// sampleEvery is the time between two looks at the memory.
const sampleEvery = 20 * time.Millisecond

// peaks watches the resident memory of a process and its descendants. A sum
// counts pages that two processes share twice.
type peaks struct {
	sum  int64
	each map[string]int64

	quit, done chan struct{}
}

func watch(pid int) *peaks {
	p := &peaks{each: map[string]int64{}, quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		t := time.NewTicker(sampleEvery)
		defer t.Stop()
		for {
			p.look(pid)
			select {
			case <-p.quit:
				return
			case <-t.C:
			}
		}
	}()
	return p
}

func (p *peaks) stop() {
	close(p.quit)
	<-p.done
}

// look adds one look.
func (p *peaks) look(root int) {
	type process struct {
		parent int
		name   string
		rss    int64
	}
	all := map[int]process{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		// pid (comm) state ppid ... rss is field 24, in pages (proc_pid_stat(5)).
		open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
		if open < 0 || end < open {
			continue
		}
		fields := strings.Fields(string(b[end+1:]))
		if len(fields) < 22 {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(string(b[:open]), &pid); err != nil {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		rss, _ := strconv.ParseInt(fields[21], 10, 64)
		all[pid] = process{parent, string(b[open+1 : end]), rss * int64(os.Getpagesize())}
	}
	var sum int64
	each := map[string]int64{}
	for pid, is := range all {
		for up, n := pid, 0; up > 1 && n < 64; up, n = all[up].parent, n+1 {
			if up == root {
				sum += is.rss
				each[is.name] += is.rss
				break
			}
		}
	}
	p.sum = max(p.sum, sum)
	for name, rss := range each {
		p.each[name] = max(p.each[name], rss)
	}
}
