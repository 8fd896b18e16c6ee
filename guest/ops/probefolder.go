//go:build linux

package ops

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fuseless/guest/proto"
)

// folderTime is how long the look at a probe folder, which holds a dozen
// files, may take.
const folderTime = 20 * time.Second

// probeFolder looks at the files that the host has made in dir, and makes two.
func probeFolder(dir string, again bool) *proto.FolderProbe {
	f, ok := bounded(folderTime, func() *proto.FolderProbe { return lookAtFolder(dir, again) })
	if !ok {
		return &proto.FolderProbe{Error: &proto.ProbeError{Code: proto.Mount, Text: "no answer within " + folderTime.String()}}
	}
	return f
}

func lookAtFolder(dir string, again bool) *proto.FolderProbe {
	f := &proto.FolderProbe{}
	if !again {
		makeInGuest(dir, f)
		f.FindsNFC = finds(dir, proto.ProbeNFCOther)
		f.FindsNFD = finds(dir, proto.ProbeNFDOther)
		f.FindsCase = finds(dir, proto.ProbeCaseOther)
	}
	first, err := probeEntries(dir)
	if err == nil {
		f.Entries, err = probeEntries(dir)
	}
	if err != nil {
		f.Error = probeError(proto.Mount, err)
		return f
	}
	f.Stable = sameInodes(first, f.Entries)
	return f
}

// makeInGuest makes the guest's own files, and gives one the time of which the
// host's have another.
func makeInGuest(dir string, f *proto.FolderProbe) {
	composed := filepath.Join(dir, proto.ProbeMadeNFC)
	for _, p := range []string{composed, filepath.Join(dir, proto.ProbeMadeNFD)} {
		if err := os.WriteFile(p, []byte("fuseless\n"), 0o600); err != nil {
			f.WriteError = probeError(proto.Mount, err)
			return
		}
	}
	f.Set = proto.ProbeTime.Add(24 * time.Hour)
	err := os.Chtimes(composed, f.Set, f.Set)
	if err == nil {
		var fi fs.FileInfo
		if fi, err = os.Lstat(composed); err == nil {
			f.Got = fi.ModTime().UTC()
		}
	}
	if err != nil {
		f.WriteError = probeError(proto.Mount, err)
	}
}

func finds(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// probeEntries lists dir, and looks also for the name that a cached listing
// does not have yet.
func probeEntries(dir string) ([]proto.ProbeEntry, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var entries []proto.ProbeEntry
	renamed := false
	for _, n := range names {
		e, ok, err := probeEntry(dir, n.Name())
		if err != nil {
			return nil, err
		}
		if ok {
			e.Listed = true
			entries = append(entries, e)
			renamed = renamed || n.Name() == proto.ProbeNew
		}
	}
	if e, ok, _ := probeEntry(dir, proto.ProbeNew); ok && !renamed {
		entries = append(entries, e)
	}
	return entries, nil
}

// probeEntry is what a stat says. ok is false for a name that is gone.
func probeEntry(dir, name string) (e proto.ProbeEntry, ok bool, err error) {
	fi, err := os.Lstat(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	st := fi.Sys().(*syscall.Stat_t)
	return proto.ProbeEntry{Name: []byte(name), Inode: st.Ino, Links: uint64(st.Nlink), Time: fi.ModTime().UTC()}, true, nil
}

func sameInodes(a, b []proto.ProbeEntry) bool {
	inodes := map[string]uint64{}
	for _, e := range a {
		inodes[string(e.Name)] = e.Inode
	}
	for _, e := range b {
		if n, ok := inodes[string(e.Name)]; !ok || n != e.Inode {
			return false
		}
	}
	return len(a) == len(b)
}
