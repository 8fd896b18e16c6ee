package hostmount

import (
	"fmt"

	"github.com/moby/sys/mountinfo"
)

// Mounted is what is mounted on the folder mountpoint, from
// /proc/self/mountinfo; of several mounts on top of each other, the one that
// is seen. It does not touch the folder itself.
func Mounted(mountpoint string) (source string, ok bool, err error) {
	mountpoint, err = canonical(mountpoint)
	if err != nil {
		return "", false, err
	}
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.Mountpoint != mountpoint, false
	})
	if err != nil {
		return "", false, fmt.Errorf("reading the mount table: %w", err)
	}
	for _, m := range infos {
		source, ok = m.Source, true
	}
	return source, ok, nil
}
