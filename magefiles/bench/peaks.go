package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// programs are those of which the memory is told, by the names of their
// processes. A name in /proc has at most 15 bytes.
var programs = []string{"fuseless", "fuseless-guest", "dial", "rsync", "gocryptfs", "ssh"}

// sampleEvery is the time between two looks at the memory. In a long run it
// becomes twenty times what a look takes, so as not to take much of a core.
const sampleEvery = 20 * time.Millisecond

// peaks watches the resident memory of the descendants of a process. A sum
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
		for started := time.Now(); ; {
			begun := time.Now()
			p.look(pid)
			rest := min(20*time.Since(begun), time.Since(started)/50)
			select {
			case <-p.quit:
				return
			case <-time.After(max(sampleEvery, rest)):
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
	var sum int64
	each, all := map[string]int64{}, processes()
	for pid, is := range all {
		for up, n := is.parent, 0; up > 1 && pid != root && n < 64; up, n = all[up].parent, n+1 {
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

// process is one of this machine.
type process struct {
	parent int
	name   string
	rss    int64 // bytes
}

// processes are all, by their pids.
func processes() map[int]process {
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
		pid, err := strconv.Atoi(strings.TrimSpace(string(b[:open])))
		if err != nil {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		rss, _ := strconv.ParseInt(fields[21], 10, 64)
		all[pid] = process{parent, string(b[open+1 : end]), rss * int64(os.Getpagesize())}
	}
	return all
}
