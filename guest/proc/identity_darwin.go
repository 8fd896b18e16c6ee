package proc

import (
	"os"

	"golang.org/x/sys/unix"
)

// zombie is SZOMB of macOS's sys/proc.h.
const zombie = 5

// StartTime is when pid was started, in microseconds since 1970 (sysctl
// kern.proc.pid). With it a pid in a file can be told from a later process of
// the same number. A zombie counts as ended.
func StartTime(pid int) (uint64, error) {
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return 0, err
	}
	if k.Proc.P_pid != int32(pid) || k.Proc.P_stat == zombie {
		return 0, os.ErrProcessDone
	}
	return uint64(k.Proc.P_starttime.Sec)*1_000_000 + uint64(k.Proc.P_starttime.Usec), nil
}
