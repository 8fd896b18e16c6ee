package hostmount

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"fuseless/guest/proc"
	"fuseless/magefiles/privilege"
)

const daemonName = "mount.davfs"

// pidDir is where davfs2 keeps its pid files.
const pidDir = "/var/run/mount.davfs"

// daemons are the pids of the davfs2 daemons for mountpoint. They are found by
// their argv, because the pid file comes only after mount.davfs has returned.
func daemons(mountpoint string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && isDaemon(pid, mountpoint) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isDaemon says whether pid is a davfs2 daemon for mountpoint that still runs.
// A zombie has no argv.
func isDaemon(pid int, mountpoint string) bool {
	if comm(pid) != daemonName {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.HasSuffix(b, []byte("\x00"+mountpoint+"\x00"))
}

func comm(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err != nil || len(b) == 0
}

// removeStalePid removes the pid file that a killed daemon left: mount.davfs
// refuses to mount where there is one. The name is the mountpoint's with "-"
// for "/", so that another mountpoint's living daemon may own it; then it stays.
func removeStalePid(ctx context.Context, mountpoint string) {
	file := filepath.Join(pidDir, strings.ReplaceAll(strings.TrimLeft(mountpoint, "/"), "/", "-")+".pid")
	b, err := os.ReadFile(file)
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && comm(pid) == daemonName && !zombie(pid) {
		return
	}
	_ = privilege.Run(ctx, proc.Cmd{Argv: []string{"rm", "-f", "--", file}})
}

// holders names up to five processes that have something open below
// mountpoint, as far as this user may see; "" if there is none. It only reads
// links, and so never blocks on the mount.
func holders(mountpoint string) string {
	var found []string
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, l := range []string{"/proc/[0-9]*/root", "/proc/[0-9]*/fd/*"} {
		more, _ := filepath.Glob(l)
		links = append(links, more...)
	}
	for _, l := range links {
		target, err := os.Readlink(l)
		if err != nil || (target != mountpoint && !strings.HasPrefix(target, mountpoint+"/")) {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(l, "/")[2])
		if s := fmt.Sprintf("%s (pid %d)", comm(pid), pid); !slices.Contains(found, s) {
			found = append(found, s)
		}
		if len(found) == 5 {
			break
		}
	}
	if len(found) == 0 {
		return ""
	}
	return ": " + strings.Join(found, ", ")
}
