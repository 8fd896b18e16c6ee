package evicted

import "golang.org/x/sys/unix"

// System asks macOS.
var System Lstat = func(path string) (Stat, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Stat{}, err
	}
	return Stat{Flags: st.Flags, Size: st.Size}, nil
}
