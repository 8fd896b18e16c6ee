//go:build !linux

package rundir

// inMemory: only the Linux guest keeps session secrets in a folder.
func inMemory(string) bool { return false }
