//go:build linux

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// pause is a point at which the first rsync of the next run waits for the test.
type pause struct {
	l           *lab
	reached, on string // FIFOs
}

// pauseRsync puts an rsync before the real one on PATH that, once, waits for the
// test before it begins. With twice it runs already once before that.
func (l *lab) pauseRsync(twice bool) *pause {
	l.t.Helper()
	real, err := exec.LookPath("rsync")
	must(l.t, err)
	bin := l.path("bin")
	must(l.t, os.Mkdir(bin, 0o700))
	p := &pause{l, filepath.Join(bin, "reached"), filepath.Join(bin, "on")}
	armed := filepath.Join(bin, "armed")
	must(l.t, syscall.Mkfifo(p.reached, 0o600))
	must(l.t, syscall.Mkfifo(p.on, 0o600))
	must(l.t, os.WriteFile(armed, nil, 0o600))
	first := ":"
	if twice {
		first = real
	}
	must(l.t, os.WriteFile(filepath.Join(bin, "rsync"), fmt.Appendf(nil, `#!/bin/sh
case "$1" in --version) exec %[5]s "$@" ;; esac
if rm %[1]q 2>/dev/null; then
	%[2]s "$@" >/dev/null 2>&1
	echo > %[3]q
	read x < %[4]q
fi
exec %[5]s "$@"
`, armed, first, p.reached, p.on, real), 0o700))
	l.env = append(l.env, "PATH="+bin+":"+os.Getenv("PATH"))
	return p
}

// wait waits until rsync is there.
func (p *pause) wait() {
	p.l.t.Helper()
	_, err := os.ReadFile(p.reached)
	must(p.l.t, err)
}

// goOn lets it go on.
func (p *pause) goOn() {
	p.l.t.Helper()
	must(p.l.t, os.WriteFile(p.on, []byte("\n"), 0))
}
