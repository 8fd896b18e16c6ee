package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// StartTime is when pid was started, in clock ticks since boot (field 22 of
// /proc/PID/stat, proc_pid_stat(5)). With it a pid in a file can be told from
// a later process of the same number. A zombie counts as ended.
func StartTime(pid int) (uint64, error) {
	start, state, err := stat(pid)
	if err == nil && (state == "Z" || state == "X") {
		return 0, os.ErrProcessDone
	}
	return start, err
}

// Remains tells whether there is still something of the process pid that was started at
// start, if only its threads, or a zombie.
func Remains(pid int, start uint64) bool {
	t, _, err := stat(pid)
	return err == nil && t == start
}

func stat(pid int) (start uint64, state string, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", err
	}
	// The command name, field 2, is in parentheses and may hold anything.
	i := bytes.LastIndexByte(b, ')')
	f := bytes.Fields(b[i+1:])
	if i < 0 || len(f) < 20 {
		return 0, "", fmt.Errorf("/proc/%d/stat: unexpected format", pid)
	}
	start, err = strconv.ParseUint(string(f[19]), 10, 64)
	return start, string(f[0]), err
}
