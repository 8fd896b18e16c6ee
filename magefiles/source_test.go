//go:build linux

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/magefiles/compare"
)

// write writes a file of the source, and the folders above it.
func (l *lab) write(name, data string) {
	l.t.Helper()
	p := filepath.Join(l.source, name)
	must(l.t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(l.t, os.WriteFile(p, []byte(data), 0o644))
	if l.as != nil {
		must(l.t, os.Chown(p, int(l.as.Uid), int(l.as.Gid)))
	}
}

// remove removes a file or folder of the source.
func (l *lab) remove(name string) {
	l.t.Helper()
	must(l.t, os.RemoveAll(filepath.Join(l.source, name)))
}

// times sets a file's mtime.
func (l *lab) times(name string, t time.Time) {
	l.t.Helper()
	must(l.t, os.Chtimes(filepath.Join(l.source, name), t, t))
}

// fill writes 30 files in 3 folders.
func (l *lab) fill() {
	l.t.Helper()
	for i := range 30 {
		l.write(fmt.Sprintf("folder %d/file %d", i%3, i), fmt.Sprintf("this is file %d\n", i))
	}
}

// started is a lab with 30 files that are backed up.
func (l *lab) started() *lab {
	l.t.Helper()
	l.fill()
	l.ok("init")
	l.ok("backup")
	return l
}

// onRemote is all that lies on the remote: the vaults and the trash.
func (l *lab) onRemote() compare.Tree {
	l.t.Helper()
	return snapshot(l.t, l.remote)
}

// unchanged fails if anything on the remote is not as it was.
func (l *lab) unchanged(what string, before compare.Tree) {
	l.t.Helper()
	same(l.t, what+": the remote", before, l.onRemote())
}

// kept fails if something that was on the remote is gone or has other
// contents. The times and modes of folders may differ (gocryptfs's own files
// have the times of their folders), and there may be more.
func (l *lab) kept(what string, before compare.Tree) {
	l.t.Helper()
	// A folder that the source does not let in may have become like that here.
	_ = filepath.WalkDir(l.remote, func(p string, e os.DirEntry, _ error) error {
		if fi, err := os.Lstat(p); err == nil && fi.IsDir() && fi.Mode().Perm()&0o500 != 0o500 {
			return os.Chmod(p, fi.Mode().Perm()|0o700)
		}
		return nil
	})
	after := l.onRemote()
	for p, was := range before.Entries {
		is := after.Entries[p]
		switch {
		case is == nil:
			l.t.Errorf("%s: %s is gone from the remote", what, p)
		case is.Kind != was.Kind || is.Size != was.Size || is.Sum != was.Sum || is.Target != was.Target,
			was.Kind != compare.Dir && !gocryptfs.Virtual(p) && (is.Mode != was.Mode || !is.MTime.Equal(was.MTime)):
			l.t.Errorf("%s: %s changed on the remote: %+v, was %+v", what, p, is, was)
		}
	}
}

// inTrash are the paths of the user's files in the trash on the remote,
// without the name of the run's folder, and still encrypted.
func (l *lab) inTrash() (paths []string) {
	for _, p := range filesBelow(l.trash) {
		rel, _ := filepath.Rel(l.trash, p)
		_, below, _ := strings.Cut(rel, "/")
		if fi, err := os.Lstat(p); err == nil && !fi.IsDir() && !gocryptfs.Virtual(below) {
			paths = append(paths, below)
		}
	}
	return paths
}
