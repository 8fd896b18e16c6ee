package hostmount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"
)

// davfs2 tells nobody that a file did not arrive: cp, sync and umount succeed,
// and its cache has the only copy (mount.davfs(8), "BACKUP DIRECTORY"). So a
// cache that holds such files is not removed but becomes a kept folder: it gets
// a name with the time, which no later mount uses or removes, it is made over to
// the user (0700), and its files get their own names below lostFoundDir.
//
// It stays on tmpfs. The files are plaintext of an encrypted backup, and
// whether they may lie on a disk is not for us to say; so the message says that
// a restart ends them, and where to copy them from. Once the files are gone from
// a kept folder, the next look removes the rest of it.

// lostFoundDir is the folder with the lost files in a kept folder. The other
// folders there are davfs2's, named host+path+user.
const lostFoundDir = "lost+found"

// findLost looks for what did not reach the server: in the cache of a writable
// mount that has ended, in whatever way, and in the folders kept earlier.
func findLost(ctx context.Context, spec Spec) (lost, error) {
	spec.ReadOnly = false
	cache, err := cacheDir(spec)
	if err != nil {
		return lost{}, err
	}
	var l lost
	kept, err := keepCache(ctx, cache)
	if err != nil {
		return l, err
	}
	dirs, err := filepath.Glob(cache + "-kept-*")
	if err != nil {
		return l, err
	}
	for _, dir := range dirs {
		fi, err := os.Lstat(dir)
		if err != nil {
			continue
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		if !ok || !fi.IsDir() || (st.Uid != 0 && int(st.Uid) != os.Getuid()) {
			continue // planted in /dev/shm
		}
		files, err := openKept(ctx, dir)
		switch {
		case err != nil:
			return l, proto.Errorf(proto.Incomplete, "files that did not reach the server lie in %s, and listing them failed: %w", dir, err).
				WithHint("%s", keepHint)
		case len(files) == 0: // rescued
			err = privilege.Run(ctx, proc.Cmd{Argv: []string{"find", dir, "-depth", "-type", "d", "-empty", "-delete"}})
			if err != nil {
				return l, proto.Errorf(proto.Mount, "removing the empty %s: %w", dir, err)
			}
		case dir == kept.dir:
			kept.files = files
			l.now = append(l.now, kept)
		default:
			l.before = append(l.before, keptFolder{dir: dir, files: files})
		}
	}
	return l, nil
}

// keepCache makes a kept folder of the cache, or removes it where it holds
// nothing that is lost. The cache is not ours to read, hence the commands.
func keepCache(ctx context.Context, cache string) (kept keptFolder, err error) {
	if there, err := cacheThere(cache); err != nil || !there {
		return kept, err
	}
	files, err := privilege.Output(ctx, proc.Cmd{Argv: []string{"find", cache, "-mindepth", "2", "-maxdepth", "2", "-type", "f", "-printf", `%f\0`}})
	var index []byte
	if err == nil {
		index, err = privilege.Output(ctx, proc.Cmd{Argv: []string{"find", cache, "-mindepth", "2", "-maxdepth", "2", "-name", indexName, "-exec", "cat", "{}", ";"}})
	}
	if err != nil {
		return kept, proto.Errorf(proto.Mount, "looking for files that did not reach the server: %w", err).
			WithHint("they would lie in %s", cache)
	}
	known, ierr := parseIndex(index)
	isLost := func(file []byte) bool { return lostName(known, string(file)) != "" }
	if !slices.ContainsFunc(bytes.Split(files, []byte{0}), isLost) {
		return kept, removeCache(ctx, cache)
	}
	kept = keptFolder{dir: cache + "-kept-" + time.Now().UTC().Format("20060102T150405.000"), unsure: ierr != nil}
	if err := privilege.Run(ctx, proc.Cmd{Argv: []string{"mv", "-T", "--", cache, kept.dir}}); err != nil {
		return kept, proto.Errorf(proto.Mount, "keeping the files that did not reach the server: %w", err).
			WithHint("they lie in %s", cache)
	}
	return kept, nil
}

// indexName is the file in davfs2's cache that parseIndex reads.
const indexName = "index"

// lostName is where the cache's file belongs if it is lost, and otherwise "".
// A file that the index does not know is lost: davfs2 itself takes such a file
// for one (cache.c, clean_cache).
func lostName(known map[string]cached, file string) string {
	c, ok := known[file]
	switch {
	case file == "", file == indexName, file == indexName+".new", ok && !c.lost:
		return ""
	case ok:
		return c.name
	}
	return plainName(file)
}

// openKept makes the kept folder dir over to the user, gives its files their
// own names, and lists them. What an earlier run, killed at it, has not done it
// goes on with.
func openKept(ctx context.Context, dir string) (files []string, err error) {
	owner := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	fi, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if st := fi.Sys().(*syscall.Stat_t); fi.Mode().Perm() != 0o700 || int(st.Uid) != os.Getuid() {
		for _, argv := range [][]string{
			// The folder itself comes last: it says that all of it is done.
			{"find", dir, "-depth", "-mindepth", "1", "-exec", "chown", "-h", "--", owner, "{}", "+"},
			{"chown", "-h", "--", owner, dir},
			{"chmod", "0700", "--", dir},
		} {
			if err := privilege.Run(ctx, proc.Cmd{Argv: argv}); err != nil {
				return nil, err
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != lostFoundDir {
			if err := sortKept(dir, e.Name()); err != nil {
				return nil, err
			}
		}
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

// sortKept moves the lost files of davfs2's folder sub, in the kept folder dir,
// to their own names below lostFoundDir, and removes the copies of what is on
// the server.
func sortKept(dir, sub string) error {
	from, to := filepath.Join(dir, sub), filepath.Join(dir, lostFoundDir)
	index, err := os.ReadFile(filepath.Join(from, indexName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known, _ := parseIndex(index)
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		file := filepath.Join(from, e.Name())
		if name := lostName(known, e.Name()); name == "" {
			if e.Name() != indexName && e.Name() != indexName+".new" {
				err = os.Remove(file)
			}
		} else if err = moveNew(file, filepath.Join(to, name)); err != nil {
			err = moveNew(file, filepath.Join(to, e.Name())) // which davfs2 made unique
		}
		if err != nil {
			return err
		}
	}
	// The index last: without it a run that goes on would know nothing.
	for _, name := range []string{indexName, indexName + ".new", ""} {
		if err := os.Remove(filepath.Join(from, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// moveNew renames a file to a name that is not taken.
func moveNew(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Link(from, to); err != nil { // unlike rename(2), fails where to exists
		return err
	}
	return os.Remove(from)
}
