//go:build linux

package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/mounts"
)

// close takes everything down and fails the test if anything is left.
func (l *lab) close() {
	t := l.t
	if t.Failed() {
		l.showLogs()
	}
	if l.server != nil {
		l.server.Refuse(false)
	}
	if _, err := os.Stat(l.configFile()); err == nil {
		if r := l.run("down"); r.code != 0 {
			t.Errorf("down: %s", r)
		}
	}
	for _, s := range lasting(l.left) {
		t.Error("left: ", s)
	}
	l.stop()
	for _, dir := range []string{l.dir, l.mem} {
		points, err := mounts.Below(dir)
		if err != nil || len(points) > 0 {
			t.Errorf("%s is not removed: %v still mounted (%v)", dir, points, err)
			return
		}
	}
	_ = filepath.WalkDir(l.dir, func(p string, e os.DirEntry, err error) error {
		if e != nil && e.IsDir() {
			_ = os.Chmod(p, 0o700) // the nasty tree has folders without permissions
		}
		return nil
	})
	for _, dir := range []string{l.dir, l.mem} {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}

// unmount takes down what a test has mounted, and fails if something keeps it
// busy for good. For a moment another test's process may: one that looks at
// every mount there is (mkfs.btrfs), or a fork that has not become its program
// yet and so holds what this process has open.
func unmount(t *testing.T, dir string) {
	t.Helper()
	// Only the topmost: what is below it is somebody else's.
	take := func() error { return syscall.Unmount(dir, 0) }
	if os.Getuid() != 0 {
		take = func() error {
			out, err := exec.Command("fusermount3", "-u", dir).CombinedOutput()
			if err != nil && strings.Contains(string(out), "busy") {
				err = syscall.EBUSY
			}
			return err
		}
	}
	err := take()
	for end := time.Now().Add(time.Minute); errors.Is(err, syscall.EBUSY) && time.Now().Before(end); err = take() {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Errorf("unmount %s: %v", dir, err)
	}
}

// lasting is what left still finds after a while. A process that was told to end
// may need a moment, and more where many tests run; nothing signals the end of one
// that is not ours.
func lasting(left func() []string) []string {
	found := left()
	for end := time.Now().Add(10 * time.Second); len(found) > 0 && time.Now().Before(end); found = left() {
		time.Sleep(20 * time.Millisecond)
	}
	return found
}

// left is whatever is there and should not.
func (l *lab) left() (left []string) {
	add := func(format string, args ...any) { left = append(left, fmt.Sprintf(format, args...)) }
	table, err := os.ReadFile("/proc/self/mountinfo")
	must(l.t, err)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if slices.Contains(l.mounts, f[4]) {
			continue
		}
		if strings.HasPrefix(f[4], l.dir+"/") || strings.HasPrefix(f[4], l.mem+"/") {
			add("mount %s", strings.TrimSpace(line))
		}
	}
	if len(left) > 0 {
		return left // what follows walks the folders, and would walk into the mounts
	}
	for _, pid := range processes(l.dir, l.mem) {
		if !slices.Contains(l.hidden, pid) {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			add("process %d: %s", pid, bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}))
		}
	}
	// The runtime folder, whole, but for the test's own passphrase.
	for _, p := range filesBelow(l.mem) {
		if p != l.passFile() && p != filepath.Join(l.mem, "run") {
			add("in memory: %s", p)
		}
	}
	for _, dir := range []string{"/run", "/dev/shm"} {
		caches, _ := filepath.Glob(filepath.Join(dir, "fuseless-davfs2-*"))
		for _, c := range caches {
			if strings.Contains(c, "-"+hostMountKey(l.mnt)) {
				add("davfs2 cache %s", c)
			}
		}
	}
	// Only what the test made, and in HOME only cache and state.
	entries, err := os.ReadDir(l.dir)
	must(l.t, err)
	for _, e := range entries {
		if !l.own[e.Name()] {
			add("in the lab: %s", e.Name())
		}
	}
	for _, p := range filesBelow(l.home) {
		rel, _ := filepath.Rel(l.home, p)
		switch {
		case rel == ".cache", rel == ".local", rel == ".local/state":
		case strings.HasPrefix(rel+"/", ".cache/fuseless/"), strings.HasPrefix(rel+"/", ".local/state/fuseless/"):
		default:
			add("in HOME: %s", rel)
		}
	}
	return left
}

// hostMountKey is how the package hostmount names what belongs to a mountpoint.
func hostMountKey(mountpoint string) string {
	h := sha256.Sum256([]byte(mountpoint))
	return hex.EncodeToString(h[:8])
}

// processes are the live processes, other than this one, that have one of the
// words in their argv. A zombie has no argv.
func processes(words ...string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue
		}
		for _, w := range words {
			if bytes.Contains(cmdline, []byte(w)) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// commands counts the lab's processes, those that are hidden left out, by what
// they were started with.
func (l *lab) commands() map[string]int {
	all := map[string]int{}
	for _, pid := range processes(l.dir, l.mem) {
		if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(cmdline) > 0 && !slices.Contains(l.hidden, pid) {
			all[string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}))]++
		}
	}
	return all
}

// showLogs shows the ends of the logs that fuseless keeps: for a failure that does not
// come again.
func (l *lab) showLogs() {
	for _, p := range filesBelow(filepath.Join(l.home, ".local/state")) {
		if b, err := os.ReadFile(p); err == nil && strings.HasSuffix(p, ".log") {
			l.t.Logf("%s ends with:\n%s", p, b[max(0, len(b)-4096):])
		}
	}
}

// filesBelow lists everything below dir.
func filesBelow(dir string) (paths []string) {
	_ = filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if p != dir && err == nil {
			paths = append(paths, p)
		}
		return nil
	})
	return paths
}

// holding lists the regular files below the folders that hold one of the
// secrets.
func holding(secrets []string, dirs ...string) (paths []string) {
	for _, dir := range dirs {
		for _, p := range filesBelow(dir) {
			if fi, err := os.Lstat(p); err != nil || !fi.Mode().IsRegular() {
				continue
			}
			b, err := os.ReadFile(p)
			if err != nil {
				continue
			}
			for _, s := range secrets {
				if bytes.Contains(b, []byte(s)) {
					paths = append(paths, p)
					break
				}
			}
		}
	}
	return paths
}

// stat gives the name and the parent of a process.
func stat(pid int) (name string, parent int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	f := bytes.Fields(b[end+1:])
	parent, _ = strconv.Atoi(string(f[1]))
	return string(b[open+1 : end]), parent
}

func isProgram(pid int, name string) bool { n, _ := stat(pid); return n == name }

// descendants are a process and all that come from it.
func descendants(root int) []int {
	parents := map[int]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			_, parents[pid] = stat(pid)
		}
	}
	var all []int
	for pid := range parents {
		for p := pid; p > 1; p = parents[p] {
			if p == root {
				all = append(all, pid)
				break
			}
		}
	}
	return all
}
