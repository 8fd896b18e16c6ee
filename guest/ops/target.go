//go:build linux

package ops

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"fuseless/guest/proto"
)

// target is the folder that is restored into.
type target struct {
	path   string
	marker string   // file that says that a restore into path was begun, and made it
	fresh  bool     // the folder was made for this restore, by this or by an earlier try
	before []folder // the folders that were there, and are not ours to change
}

// folder is how an existing folder looked. rsync gives it the mode and owner
// that the backup has.
type folder struct {
	path     string
	mode     fs.FileMode
	uid, gid int
}

// openTarget makes the target, or remembers how its folders looked.
func (r *run) openTarget(to string) (*target, error) {
	sum := sha256.Sum256([]byte(to))
	t := &target{path: to, marker: filepath.Join(r.state, "restoring-"+hex.EncodeToString(sum[:8]))}
	fi, err := os.Stat(to)
	if err == nil && !fi.IsDir() {
		return nil, proto.Errorf(proto.Source, "%s is not a folder", to).WithHint("choose another one with -to=DIR")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, proto.Errorf(proto.Source, "cannot look at %s: %w", to, err)
	}
	if err == nil {
		entries, err := os.ReadDir(to)
		if err != nil {
			return nil, proto.Errorf(proto.Source, "cannot read %s: %w", to, err)
		}
		_, merr := os.Lstat(t.marker)
		t.fresh = len(entries) == 0 || merr == nil
	} else {
		t.fresh = true
		if err := os.MkdirAll(to, 0o700); err != nil {
			return nil, proto.Errorf(proto.Source, "cannot make %s: %w", to, err).WithHint("choose another folder with -to=DIR")
		}
	}
	if t.fresh {
		return t, os.WriteFile(t.marker, []byte(to+"\n"), 0o600)
	}
	return t, t.remember()
}

func (t *target) remember() error {
	return filepath.WalkDir(t.path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if d != nil && d.IsDir() {
				return fs.SkipDir // not readable: rsync meets it, too
			}
			return nil
		}
		if !d.IsDir() {
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			return nil
		}
		st := fi.Sys().(*syscall.Stat_t)
		t.before = append(t.before, folder{p, fi.Mode(), int(st.Uid), int(st.Gid)})
		return nil
	})
}

// finish gives the folders that were there their mode and owner back.
func (t *target) finish(done bool) {
	for _, f := range t.before {
		fi, err := os.Lstat(f.path)
		if err != nil || !fi.IsDir() {
			continue
		}
		st := fi.Sys().(*syscall.Stat_t)
		if int(st.Uid) != f.uid || int(st.Gid) != f.gid {
			_ = os.Lchown(f.path, f.uid, f.gid)
		}
		if fi.Mode() != f.mode {
			_ = os.Chmod(f.path, f.mode)
		}
	}
	if done {
		_ = os.Remove(t.marker)
	} else if t.fresh && os.Remove(t.path) == nil { // nothing arrived
		_ = os.Remove(t.marker)
	}
}
