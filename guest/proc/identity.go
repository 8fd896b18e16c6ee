package proc

// Alive tells whether the process pid that was started at start still lives.
func Alive(pid int, start uint64) bool {
	t, err := StartTime(pid)
	return err == nil && t == start
}
