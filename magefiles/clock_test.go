//go:build linux

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/proto"
)

// jumpyClock is the wall clock of the guest, in the place of guest/ops/clock.go's:
// it is off by the seconds that a file holds.
const jumpyClock = `var now = func() time.Time {
	b, _ := os.ReadFile(%q)
	d, _ := time.ParseDuration(string(b) + "s")
	return time.Now().Round(0).Add(d)
}
`

// jumpyLibC is the same for programs of C, such as rsync, which ends a run in
// which it hears nothing for a while by the wall clock.
const jumpyLibC = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) {
	long s = 0;
	FILE *f = fopen(%q, "r");
	if (f) {
		if (fscanf(f, "%%ld", &s) != 1) s = 0;
		fclose(f);
	}
	return s;
}
int clock_gettime(clockid_t c, struct timespec *ts) {
	int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
	int r = real(c, ts);
	if (c == CLOCK_REALTIME) ts->tv_sec += shift();
	return r;
}
int gettimeofday(struct timeval *restrict tv, void *restrict tz) {
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}
time_t time(time_t *t) {
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	if (t) *t = ts.tv_sec;
	return ts.tv_sec;
}
`

// jumpy lets the guest and rsync have a wall clock that the returned function
// sets: by how much it is off. The clocks of the kernel and of the remote go on.
func (l *lab) jumpy() (off func(time.Duration)) {
	l.t.Helper()
	needs(l.t, "gcc")
	dir := l.path("clock")
	must(l.t, os.Mkdir(dir, 0o755))
	file := func(name string) string { return filepath.Join(dir, name) }
	off = func(d time.Duration) {
		must(l.t, os.WriteFile(file("new"), fmt.Append(nil, int64(d.Seconds())), 0o644))
		must(l.t, os.Rename(file("new"), file("off")))
	}
	off(0)
	run := func(c *exec.Cmd) {
		l.t.Helper()
		if out, err := c.CombinedOutput(); err != nil {
			l.t.Fatalf("%v: %v: %s", c.Args, err, out)
		}
	}

	clock, err := filepath.Abs("../guest/ops/clock.go")
	must(l.t, err)
	b := string(read(l.t, clock))
	changed := strings.Replace(b, "var now = time.Now\n", fmt.Sprintf(jumpyClock, file("off")), 1)
	if changed == b {
		l.t.Fatal("guest/ops/clock.go has another form")
	}
	changed = strings.Replace(changed, "import (\n", "import (\n\t\"os\"\n", 1)
	must(l.t, os.WriteFile(file("clock.go"), []byte(changed), 0o644))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{clock: file("clock.go")}})
	must(l.t, err)
	must(l.t, os.WriteFile(file("overlay"), overlay, 0o644))
	// As guestbin does it, so that the packages are compiled already.
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-gcflags=crypto/...=-l", "-tags", "nethttpomithttp2", "-ldflags", "-s -w -buildid=",
		"-overlay", file("overlay"), "-o", file("guest"), "./guest")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off", "GOFLAGS=")
	run(build)
	l.inPlaceOfGuest(func(guest string) { must(l.t, os.Rename(file("guest"), guest)) })

	must(l.t, os.WriteFile(file("lib.c"), fmt.Appendf(nil, jumpyLibC, file("off")), 0o644))
	run(exec.Command("gcc", "-shared", "-fPIC", "-o", file("lib.so"), file("lib.c"), "-ldl"))
	rsync, err := exec.LookPath("rsync")
	must(l.t, err)
	must(l.t, os.WriteFile(file("rsync"), fmt.Appendf(nil, `#!/bin/sh
LD_PRELOAD=%q exec %s "$@"
`, file("lib.so"), rsync), 0o755))
	l.env = append(l.env, "PATH="+dir+":"+os.Getenv("PATH"))
	return off
}

// TestClockJumps: a run goes on, and ends right, while the wall clock jumps; and
// one whose clock is wrong all the time removes nothing from the trash.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	off := l.jumpy()
	kept := time.Now().AddDate(0, 0, -5).UTC().Format("20060102T150405Z") // of 7 days
	due := time.Now().AddDate(0, 0, -9).UTC().Format("20060102T150405Z")
	const day = 24 * time.Hour
	for i, jump := range []struct {
		before, meanwhile time.Duration // by how much the clock is off
		warns             bool
	}{
		{0, 3 * day, true},
		{0, -time.Hour, false},
		{3 * day, 3 * day, true},
	} {
		for _, n := range []string{kept, due} {
			must(t, os.MkdirAll(filepath.Join(l.trash, n, "file"), 0o700))
			l.aged(n)
		}
		l.write("folder 0/large", strings.Repeat(fmt.Sprint("large ", i), 4<<20))
		l.remove(fmt.Sprintf("folder 1/file %d", 1+3*i))
		off(jump.before)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c := l.command(ctx, "backup")
		var stderr bytes.Buffer
		c.Stderr = &stderr
		must(t, c.Start())
		eventually(t, "a file is under way", func() bool {
			temporary, _ := filepath.Glob(filepath.Join(l.vault, "*", ".*.??????"))
			return len(temporary) > 0
		})
		// Not by --bwlimit, which takes a clock that is set back for bytes to wait for.
		var under []int
		for _, pid := range descendants(c.Process.Pid) {
			if isProgram(pid, "rsync") {
				must(t, syscall.Kill(pid, syscall.SIGSTOP))
				under = append(under, pid)
			}
		}
		if len(under) == 0 {
			t.Fatal("no rsync is under way")
		}
		off(jump.meanwhile)
		for _, pid := range under {
			must(t, syscall.Kill(pid, syscall.SIGCONT))
		}
		if code := exitCode(t, c.Wait()); code != proto.OK {
			t.Errorf("%+v: it ends with %d: %s", jump, code, stderr.String())
		}
		if warns := strings.Contains(stderr.String(), "this machine's clock is 3 days ahead of that of the remote"); warns != jump.warns {
			t.Errorf("%+v: it says %s", jump, stderr.String())
		}
		if _, err := os.Stat(filepath.Join(l.trash, due)); (err == nil) != jump.warns {
			t.Errorf("%+v: what is due is there: %t", jump, err == nil)
		}
		if _, err := os.Stat(filepath.Join(l.trash, kept)); err != nil {
			t.Error(err)
		}
		off(0)
		l.vaultIsSource()
	}
}
