package bridge

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// zombie is SZOMB of macOS's sys/proc.h.
const zombie = 5

// startTime is when the process pid started, from sysctl kern.proc.pid, with
// microseconds. A zombie counts as ended.
func startTime(pid int) (string, error) {
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", err
	}
	if k.Proc.P_pid != int32(pid) || k.Proc.P_stat == zombie {
		return "", os.ErrProcessDone
	}
	return fmt.Sprintf("%d.%06d", k.Proc.P_starttime.Sec, k.Proc.P_starttime.Usec), nil
}
