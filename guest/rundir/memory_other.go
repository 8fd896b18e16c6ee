//go:build !linux

package rundir

import "os"

// candidates: the home folder. macOS has no tmpfs; it removes what is old from
// /tmp, also the sockets of a view that is open for days (periodic(8)); and below
// ~/Library/Caches a socket's path would be too long (sun_path has 104 bytes).
func candidates() []candidate { return []candidate{{os.Getenv("HOME"), ".fuseless-run"}} }

// inMemory need not be: only the guest, which is Linux, keeps session secrets in
// a folder; here are sockets and the numbers of processes.
func inMemory(string) bool { return true }
