package bench

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// machine says when and on what a result was measured.
func machine() string {
	first := func(file, pattern, otherwise string) string {
		b, _ := os.ReadFile(file)
		if m := regexp.MustCompile("(?m)" + pattern).FindSubmatch(b); m != nil {
			return strings.TrimSpace(string(m[1]))
		}
		return otherwise
	}
	return fmt.Sprintf("Measured on %s: %d x %s, Linux %s, %s.", time.Now().Format(time.DateOnly), runtime.NumCPU(),
		first("/proc/cpuinfo", `^model name\s*:\s*(.+)$`, runtime.GOARCH),
		first("/proc/sys/kernel/osrelease", `^(\S+)`, "of unknown release"),
		first("/etc/os-release", `^PRETTY_NAME="?([^"\n]+)`, runtime.GOOS))
}
