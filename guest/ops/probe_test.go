//go:build linux

package ops

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, p, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(t, os.WriteFile(p, []byte(content), 0o644))
}

// asked is what a guest answers to a whole request.
func asked(t *testing.T, o proto.ProbeOptions, d proto.Destination) *proto.ProbeResult {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	memory, err := os.MkdirTemp("/dev/shm", "probe-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(memory) })
	t.Setenv("XDG_RUNTIME_DIR", memory)
	var out bytes.Buffer
	req := &proto.Request{Protocol: proto.Version, Op: proto.OpProbe, Instance: "0123abcd", Vault: "probed", Probe: o, Destination: d}
	must(t, Run(t.Context(), req, proto.NewEmitter(&out)))
	var e proto.Event
	must(t, json.Unmarshal(out.Bytes(), &e))
	if e.Kind != proto.KindResult || e.Probe == nil {
		t.Fatalf("answer %s", out.String())
	}
	return e.Probe
}

func TestProbeOfTheGuestItself(t *testing.T) {
	before := time.Now()
	p := asked(t, proto.ProbeOptions{Programs: true}, proto.Destination{})
	if p.Clock.Before(before.Add(-time.Millisecond)) || p.Clock.After(time.Now()) {
		t.Errorf("clock %s, not between %s and now", p.Clock, before)
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil && strings.TrimSpace(string(b)) != p.Kernel {
		t.Errorf("kernel %q, want %q", p.Kernel, b)
	}
	if p.Free <= 0 {
		t.Errorf("free %d", p.Free)
	}
	if p.Sources != nil || p.Remote != nil || p.Folder != nil {
		t.Errorf("it looked at more than it was asked: %+v", p)
	}
	names := ""
	for _, g := range p.Programs {
		names += g.Name + " "
		if (g.Path == "") != (g.Output == "") {
			t.Errorf("%+v", g)
		}
	}
	if names != "gocryptfs sshfs rsync fusermount3 " {
		t.Errorf("programs %s", names)
	}
}

func TestProbeFuse(t *testing.T) {
	for device, want := range map[string]string{"/dev/null": "", "/nonexistent/fuse": "no such file"} {
		if got := fuseFault(device); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", device, got)
		}
	}
}

func TestProbeReadsOneFileOfEachSource(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, gocryptfs.ReverseConfigName), "ours")
	put(t, filepath.Join(dir, "empty"), "")
	put(t, filepath.Join(dir, "sub/deep/photo"), "content")
	must(t, syscall.Mkfifo(filepath.Join(dir, "a-fifo"), 0o644)) // to open it would block
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "a-link")))
	bare := t.TempDir()
	p := asked(t, proto.ProbeOptions{Sources: []string{dir, bare, filepath.Join(dir, "gone"), "/proc/"}}, proto.Destination{})
	if len(p.Sources) != 4 {
		t.Fatalf("%+v", p.Sources)
	}
	full, none, gone, mount := p.Sources[0], p.Sources[1], p.Sources[2], p.Sources[3]
	if string(full.File) != "sub/deep/photo" || full.Error != nil || full.Entries != 7 || full.Mount != "" || full.Path != dir {
		t.Errorf("%+v", full)
	}
	if none.File != nil || none.Error != nil || none.Entries != 0 || none.Limit {
		t.Errorf("%+v", none)
	}
	if gone.Error == nil || gone.Error.Errno != "ENOENT" || gone.Error.Code != proto.Source || gone.Error.Text != "no such file or directory" {
		t.Errorf("%+v %+v", gone, gone.Error)
	}
	if mount.Mount != "proc" {
		t.Errorf("%+v", mount)
	}
}

// What may not be read is told plainly, with its path, and does not keep the
// search from going on.
func TestProbeOfFilesThatMayNotBeRead(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) {
		must(t, os.Chmod(d, 0o755)) // go test's folders are closed to others
	}
	for _, p := range []string{"locked/x", "secret", "open/y"} {
		put(t, filepath.Join(dir, p), "content")
	}
	must(t, os.Chmod(filepath.Join(dir, "locked"), 0))
	must(t, os.Chmod(filepath.Join(dir, "secret"), 0))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "locked"), 0o755) })

	w := walk{ctx: t.Context(), root: dir, limits: defaultLimits}
	asNobody(t, w.search)
	if string(w.found.File) != "open/y" || w.found.Failed != 2 {
		t.Errorf("%+v", w.found)
	}
	if e := w.found.Error; e == nil || e.Errno != "EACCES" || string(e.Path) != "secret" || e.Text != "permission denied" {
		t.Errorf("%+v", e)
	}

	must(t, os.Chmod(dir, 0))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	w = walk{ctx: t.Context(), root: dir, limits: defaultLimits}
	asNobody(t, w.search)
	if w.found.File != nil || w.found.Error == nil || w.found.Error.Errno != "EACCES" {
		t.Errorf("%+v", w.found)
	}
}

// asNobody does f in a thread that has not root's rights on files.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	must(t, syscall.Setfsuid(65534)) // takes CAP_DAC_OVERRIDE away (capabilities(7))
	defer func() { must(t, syscall.Setfsuid(0)) }()
	f()
}

func TestProbeStopsAtItsLimits(t *testing.T) {
	dir := t.TempDir()
	for i := range 30 {
		must(t, os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02d/sub", i)), 0o755))
	}
	put(t, filepath.Join(dir, "29/sub/file"), "x")
	if s := probeSource(t.Context(), dir, limits{entries: 40, time: time.Minute}); !s.Limit || s.Entries != 40 || s.File != nil {
		t.Errorf("%+v", s)
	}
	if s := probeSource(t.Context(), dir, limits{entries: 1000, time: time.Minute}); s.Limit || string(s.File) != "29/sub/file" {
		t.Errorf("%+v", s)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if s := probeSource(ended, dir, defaultLimits); !s.Limit || s.Entries != 0 {
		t.Errorf("%+v", s)
	}
	// What hangs in the kernel does not hold up the answer.
	block := make(chan int)
	defer close(block)
	if _, ok := bounded(time.Millisecond, func() int { return <-block }); ok {
		t.Error("bounded waited")
	}
}

// On a file system of Linux nothing changes on the way: this is what the
// mounts of a VM are compared with.
func TestProbeFolder(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{proto.ProbeNFC, proto.ProbeNFD, proto.ProbeCase, proto.ProbeTimed, proto.ProbeLink, proto.ProbeOld} {
		put(t, filepath.Join(dir, n), "x")
	}
	must(t, os.Link(filepath.Join(dir, proto.ProbeLink), filepath.Join(dir, proto.ProbeLinked)))
	must(t, os.Chtimes(filepath.Join(dir, proto.ProbeTimed), proto.ProbeTime, proto.ProbeTime))

	first := asked(t, proto.ProbeOptions{Folder: dir}, proto.Destination{}).Folder
	if first.Error != nil || first.WriteError != nil || !first.Stable || first.FindsNFC || first.FindsNFD || first.FindsCase {
		t.Errorf("%+v", first)
	}
	if !first.Got.Equal(first.Set) || first.Set.Nanosecond()%1000 == 0 {
		t.Errorf("set %s, got %s", first.Set, first.Got)
	}
	if len(first.Entries) != 9 {
		t.Errorf("%d entries", len(first.Entries))
	}
	for _, n := range []string{proto.ProbeNFC, proto.ProbeNFD, proto.ProbeMadeNFC, proto.ProbeMadeNFD} {
		if e := first.Entry(n); e == nil || !e.Listed {
			t.Errorf("%q: %+v", n, e)
		}
	}
	if e := first.Entry(proto.ProbeTimed); e == nil || !e.Time.Equal(proto.ProbeTime) {
		t.Errorf("time %+v", e)
	}
	a, b := first.Entry(proto.ProbeLink), first.Entry(proto.ProbeLinked)
	if a == nil || b == nil || a.Inode != b.Inode || a.Links != 2 || b.Links != 2 {
		t.Errorf("links %+v %+v", a, b)
	}

	must(t, os.Rename(filepath.Join(dir, proto.ProbeOld), filepath.Join(dir, proto.ProbeNew)))
	must(t, os.Remove(filepath.Join(dir, proto.ProbeMadeNFC)))
	again := asked(t, proto.ProbeOptions{Folder: dir, Again: true}, proto.Destination{}).Folder
	if e := again.Entry(proto.ProbeNew); e == nil || e.Inode != first.Entry(proto.ProbeOld).Inode || again.Entry(proto.ProbeOld) != nil {
		t.Errorf("after the renaming %+v", again)
	}
	if again.Entry(proto.ProbeMadeNFC) != nil || len(again.Entries) != 8 {
		t.Errorf("the second look made files, or names them twice: %+v", again.Entries)
	}
	if f := asked(t, proto.ProbeOptions{Folder: dir + "/gone"}, proto.Destination{}).Folder; f.Error == nil || f.Error.Errno != "ENOENT" || f.WriteError == nil {
		t.Errorf("%+v", f)
	}
}

func TestProbeOfALocalDestination(t *testing.T) {
	dir := t.TempDir()
	p := asked(t, proto.ProbeOptions{Remote: true}, proto.Destination{Local: true, Path: dir + "/new", Label: "there"}).Remote
	if p == nil || p.Error != nil || p.Exists || p.Free <= 0 || p.Rsync != 0 {
		t.Errorf("%+v", p)
	}
	p = asked(t, proto.ProbeOptions{Remote: true}, proto.Destination{Local: true, Path: dir + "/disk/vault", Label: "there"}).Remote
	if p.Error == nil || p.Error.Code != proto.Vault || !strings.Contains(p.Error.Hint, "disk mounted") {
		t.Errorf("%+v", p)
	}
	put(t, dir+"/file", "x")
	p = asked(t, proto.ProbeOptions{Remote: true}, proto.Destination{Local: true, Path: dir + "/file", Label: "there"}).Remote
	if p.Error == nil || p.Error.Code != proto.Vault {
		t.Errorf("%+v", p)
	}
}
