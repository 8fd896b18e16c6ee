package webdav

import (
	"fmt"
	"io/fs"
	"syscall"
)

// handleKey is what tells files apart whose pages the kernel keeps apart: the inode,
// since a link leads to one that has another name, too. Where there is none it is the name.
func handleKey(name string, fi fs.FileInfo) string {
	switch st := fi.Sys().(type) {
	case *syscall.Stat_t:
		return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	case fileID:
		return fmt.Sprintf("%d:%d", st.dev, st.ino)
	}
	return name
}
