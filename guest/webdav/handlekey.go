package webdav

import (
	"fmt"
	"io/fs"
	"syscall"
)

// handleKey is what tells files apart whose pages the kernel keeps apart: the inode,
// since a link leads to one that has another name, too. Where there is none it is the name.
func handleKey(name string, fi fs.FileInfo) string {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	}
	return name
}
