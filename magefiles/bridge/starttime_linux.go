package bridge

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// startTime is when the process pid started, as field 22 of /proc/PID/stat
// (clock ticks since boot, proc(5)). A zombie counts as ended.
func startTime(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The name in field 2 may hold spaces and parentheses.
	_, rest, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	f := strings.Fields(rest) // from field 3, the state, on
	if !ok || len(f) < 20 {
		return "", errors.New("unexpected /proc/PID/stat")
	}
	if f[0] == "Z" || f[0] == "X" {
		return "", os.ErrProcessDone
	}
	return f[19], nil
}
