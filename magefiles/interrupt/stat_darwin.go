package interrupt

import "golang.org/x/sys/unix"

// stat gives the name and the parent of a process (sysctl kern.proc.pid).
func stat(pid int) (name string, parent int, err error) {
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", 0, err
	}
	return unix.ByteSliceToString(k.Proc.P_comm[:]), int(k.Eproc.Ppid), nil
}
