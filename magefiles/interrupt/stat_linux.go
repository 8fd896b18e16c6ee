package interrupt

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// stat gives the name and the parent of a process (proc_pid_stat(5)).
func stat(pid int) (name string, parent int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, err
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return "", 0, fmt.Errorf("/proc/%d/stat: unexpected format", pid)
	}
	f := bytes.Fields(b[end+1:])
	if len(f) < 2 {
		return "", 0, fmt.Errorf("/proc/%d/stat: unexpected format", pid)
	}
	parent, err = strconv.Atoi(string(f[1]))
	return string(b[open+1 : end]), parent, err
}
