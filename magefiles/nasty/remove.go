package nasty

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Remove removes dir and everything in it, also folders without write permission,
// which os.RemoveAll leaves behind for an ordinary user. If something is mounted
// anywhere in dir it removes nothing, and says so. No dir is no error.
func Remove(dir string) error {
	var top unix.Stat_t
	if err := unix.Lstat(dir, &top); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		switch {
		case errors.Is(err, unix.ENAMETOOLONG):
			return nil // no path leads there, so nothing is mounted there; os.RemoveAll needs no paths
		case err != nil:
			return err
		case st.Dev != top.Dev:
			return errors.New(path + " is a mount")
		case d.IsDir(): // this comes before the folder is read
			return os.Chmod(path, 0o700)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return os.RemoveAll(dir)
}
