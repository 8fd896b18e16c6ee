//go:build linux

package e2e

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// do runs f as the user, in this process: what f makes is the user's, and f can
// make nothing that the user could not. f must not start goroutines.
//
// The kernel keeps credentials for each thread (credentials(7)), so f gets a
// thread of its own, which ends with it: a goroutine that ends locked takes its
// thread with it. The system calls are made by themselves, because Go's own
// functions change all threads.
func (a *account) do(f func() error) error {
	if !a.made {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		// No groups: pointer and length are both 0.
		if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
			done <- fmt.Errorf("become %s: setgroups: %w", a.name, e)
			return
		}
		g, u := uintptr(a.gid), uintptr(a.uid)
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, g, g, g); e != 0 {
			done <- fmt.Errorf("become %s: setresgid: %w", a.name, e)
			return
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, u, u, u); e != 0 {
			done <- fmt.Errorf("become %s: setresuid: %w", a.name, e)
			return
		}
		done <- f()
	}()
	return <-done
}
