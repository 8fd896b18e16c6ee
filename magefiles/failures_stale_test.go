//go:build linux

package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"fuseless/guest/proto"
)

// opened is setup while the view is mounted on the host.
func opened(setup func(l *lab)) func(l *lab) func() {
	return func(l *lab) func() {
		l.ok("open")
		setup(l)
		return func() { l.ok("down") }
	}
}

// killed kills a process, and waits until it has ended.
func (l *lab) killed(name, word string) {
	l.t.Helper()
	pid := l.theProcess(name, word)
	must(l.t, syscall.Kill(pid, syscall.SIGKILL))
	eventually(l.t, name+" has ended", func() bool { return !slices.Contains(processes(word), pid) }) // a zombie has no argv
}

// showsSource fails unless the source is to be seen at the mountpoint.
func (l *lab) showsSource() {
	l.t.Helper()
	for _, p := range filesBelow(l.source) {
		rel, _ := filepath.Rel(l.source, p)
		if fi, err := os.Lstat(p); err != nil || !fi.Mode().IsRegular() || strings.HasPrefix(rel, ".") {
			continue
		}
		want := read(l.t, p)
		if got, err := os.ReadFile(filepath.Join(l.mnt, rel)); err != nil || string(got) != string(want) {
			l.t.Errorf("on the host %s is %q (%v)", rel, got, err)
		}
	}
}

const mountedNow = "mounted on MOUNTPOINT\nthere is no desktop here; the files are in MOUNTPOINT"

// staleFailures are mounts of ours of which a part was killed, as the kernel does
// where memory is short.
var staleFailures = []failure{
	{group: "Host", what: "our own mount there is stale: the server behind it was killed", on: views, args: []string{"hostMount"},
		setup: opened(func(l *lab) { l.killed("fuseless-guest", l.runDir()+"/view") }),
		want:  "the vault photos is not being served",
		hint:  "run `fuseless open`: it does whatever is missing",
		code:  proto.Serve},
	{group: "Host", what: "the server behind our own mount there was killed, and `open` is run", on: views, args: []string{"open"}, opens: true,
		setup: opened(func(l *lab) { l.killed("fuseless-guest", l.runDir()+"/view") }),
		want:  mountedNow},
	{group: "Host", what: "our own mount there is stale: davfs2 was killed", on: views, args: []string{"hostMount"}, opens: true,
		setup: opened(func(l *lab) { l.killed("mount.davfs", l.mnt) }),
		want:  "mounted on MOUNTPOINT"},
	{group: "Host", what: "the same with gocryptfs behind it", on: views, args: []string{"open"}, opens: true,
		setup: opened(func(l *lab) { l.killed("gocryptfs", l.runDir()+"/view") }),
		want:  mountedNow},
	{group: "Host", what: "the same with sshfs behind it", on: views, args: []string{"open"}, opens: true,
		setup: opened(func(l *lab) { l.killed("sshfs", l.runDir()+"/remote") }),
		want:  mountedNow},
}
