//go:build linux

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"

	"fuseless/guest/proto"
)

// TestTwoMountsAtOnce: the second waits for the first, and finds it done.
func TestTwoMountsAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	for round := range 5 {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var both [2]*exec.Cmd
		var said [2]bytes.Buffer
		for i := range both {
			both[i] = l.command(ctx, "remoteMount")
			both[i].Stderr = &said[i]
			must(t, both[i].Start())
		}
		for i := range both {
			if code := exitCode(t, both[i].Wait()); code != proto.OK {
				t.Errorf("round %d: %d: %s", round, code, said[i].String())
			}
		}
		all, err := mountinfo.GetMounts(mountinfo.PrefixFilter(l.mem))
		must(t, err)
		count := map[string]int{}
		for _, m := range all {
			count[filepath.Base(m.Mountpoint)]++
		}
		if len(all) != 2 || count["view"] != 1 || count["remote"] != 1 {
			t.Errorf("round %d: mounted %v", round, count)
		}
		if s := l.status(); s.View == nil || !s.View.Alive || s.Remote == nil || !s.Remote.Alive || s.Bridge == 0 {
			t.Errorf("round %d: %s", round, mustJSON(t, s))
		}
		if b, err := os.ReadFile(filepath.Join(l.runDir(), "view/folder 1/file 1")); err != nil || string(b) != "this is file 1\n" {
			t.Errorf("round %d: the view shows %q (%v)", round, b, err)
		}
		if round < 4 {
			l.ok("remoteUnmount")
		}
	}

	// A backup does not mind an open view, and leaves it as it is.
	before := l.status()
	l.write("folder 1/new", "new")
	l.remove("folder 2/file 2")
	down := false
	r := l.hooked(func(c call) string {
		if c.pass == "send 1" {
			l.refused(proto.Busy, []string{"down"}, fmt.Sprintf("pid %d", c.pid))
			down = true
		}
		return ""
	}, "backup")
	l.says(r, proto.OK)
	if !down {
		t.Error("down was not tried")
	}
	if s := l.status(); mustJSON(t, s.View) != mustJSON(t, before.View) || mustJSON(t, s.Remote) != mustJSON(t, before.Remote) || s.Bridge != before.Bridge {
		t.Errorf("the backup changed what is open: %s", mustJSON(t, s))
	}
	if b, err := os.ReadFile(filepath.Join(l.runDir(), "view/folder 1/file 1")); err != nil || string(b) != "this is file 1\n" {
		t.Errorf("after the backup the view shows %q (%v)", b, err)
	}
	l.ok("down")
	l.sameAsSource()
}

// TestRuntimeFolder: nothing is left there, neither by a run nor by one that
// was killed.
func TestRuntimeFolder(t *testing.T) {
	empty := func(l *lab) {
		l.t.Helper()
		if left := filesBelow(filepath.Join(l.mem, "run")); len(left) > 0 {
			l.t.Errorf("left: %q", left)
		}
	}
	t.Run("local", func(t *testing.T) {
		l := localLab(t).started()
		empty(l)
		l.remove("folder 0/file 3")
		l.ok("backup")
		empty(l)
		l.ok("restore", "-to="+l.path("to"))
		empty(l)
		l.ok("remoteMount")
		l.ok("remoteUnmount")
		empty(l)
	})
	t.Run("stale socket", func(t *testing.T) {
		l := newLab(t).started()
		empty(l)
		ended := exec.Command("true")
		must(t, ended.Run())
		must(t, os.MkdirAll(l.runDir(), 0o700))
		socket := func(pid int) string {
			p := filepath.Join(l.runDir(), fmt.Sprintf("bridge-%d.sock", pid))
			s, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
			must(t, err)
			s.SetUnlinkOnClose(false)
			must(t, s.Close())
			return p
		}
		dead, live := socket(ended.Process.Pid), socket(os.Getpid())
		l.ok("backup")
		gone(t, dead)
		if _, err := os.Lstat(live); err != nil {
			t.Error("the socket of a process that lives is gone: ", err)
		}
		must(t, os.Remove(live))
		l.ok("backup")
		empty(l)
		if strings.Contains(l.ok("status").stdout, "stray") {
			t.Error("status speaks of a stray")
		}
	})
}
