package chain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/proto"
	"fuseless/templates"
)

// restoreByVM restores with a guest that may write into one folder only: there
// first, and then from there to where the files are wanted, without overwriting
// anything.
func (v *vault) restoreByVM(ctx context.Context, what proto.RestoreOptions) error {
	to := what.To
	home := v.Config.VM.RestoreDir
	if home == "" {
		return proto.Errorf(proto.Config, "the VM has no folder to restore into").WithHint("set `vm: {restore: DIR}` in %s", v.Config.File)
	}
	if rel, err := filepath.Rel(home, to); err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, "../") {
		what.To = templates.RestorePoint + "/" + rel
		return v.restore(ctx, what, nil)
	}
	// What is moved must not stop at a link.
	to, err := throughLinks(to)
	if err != nil {
		return err
	}
	// The same name each time: the encrypted files that a broken try has fetched
	// are used by the next. Not those that it decrypted, since there may be newer
	// ones by now.
	name := "." + v.Name + "-" + v.instance
	from := filepath.Join(home, name)
	if err := removeTree(from); err != nil {
		return proto.Errorf(proto.Source, "cannot remove what an earlier restore left: %w", err).WithHint("look at %s", from)
	}
	var result *proto.RestoreResult
	what.To = templates.RestorePoint + "/" + name
	rerr := v.restore(ctx, what, func(r *proto.RestoreResult) { result = r })
	if rerr != nil && proto.CodeOf(rerr) != proto.Incomplete {
		var e *proto.Error
		if errors.As(rerr, &e) && e.Code == proto.NoSpace {
			e.Hint = fmt.Sprintf("the VM restores into %s first: give a folder on a larger disk by `vm: {restore: DIR}` in %s, or a part with -only=PATTERN", home, v.Config.File)
		}
		return rerr
	}
	if _, err := os.Stat(from); err != nil {
		return proto.Errorf(proto.Guest, "the VM says that it restored, but %w", err).WithHint("restart the VM: `fuseless down`, then `fuseless up`; then run it again")
	}
	m := mover{links: map[inode]string{}}
	if err := m.tree(ctx, from, to); err != nil {
		if ctx.Err() != nil {
			return proto.Errorf(proto.Interrupted, "interrupted while what was restored is moved to %s", to).
				WithHint("run it again with -to=%s; what is not moved yet is still in %s", to, from)
		}
		return proto.Errorf(proto.CodeOf(full(err)), "cannot move what was restored from %s to %s: %w", from, to, err).
			WithHint("nothing is overwritten, and what is not moved yet is still in %s: move it by hand, or mend what is in the way and run it again with -to=%s", from, to)
	}
	if err := removeTree(from); err != nil {
		v.screen.Say("warning: cannot remove %s: %v", from, err)
	}
	if result != nil {
		result.To, result.Existing = to, result.Existing+m.kept
		v.screen.Restore(result)
	}
	return rerr
}

// throughLinks is the folder that to leads to, which need not exist; only a link
// to nowhere is an error.
func throughLinks(to string) (string, error) {
	fi, err := os.Stat(to)
	switch {
	case err == nil && !fi.IsDir():
		return "", proto.Errorf(proto.Source, "%s is not a folder", to).WithHint("choose another one with -to=DIR")
	case err == nil:
		real, err := filepath.EvalSymlinks(to)
		if err != nil {
			return "", proto.Errorf(proto.Source, "cannot look at %s: %w", to, err)
		}
		return real, nil
	}
	if _, lerr := os.Lstat(to); lerr == nil {
		return "", proto.Errorf(proto.Source, "%s is a link to what does not exist: %w", to, err).WithHint("choose another folder with -to=DIR")
	}
	return to, nil
}

func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return proto.Errorf(proto.NoSpace, "%w", err)
	}
	return proto.Errorf(proto.Source, "%w", err)
}

// mover moves restored files to where they are wanted.
type mover struct {
	kept  int64            // entries that were left, because something of that name was there
	links map[inode]string // where files with several names went, if they had to be copied
}

type inode struct{ dev, ino uint64 }

// tree moves what is in the folder from into the folder to. A folder gets its
// mode and time when all that is in it is moved.
func (m *mover) tree(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if fi, err := os.Lstat(to); err == nil && !fi.IsDir() {
		return fmt.Errorf("%s is not a folder", to)
	}
	return m.entry(ctx, from, to)
}

func (m *mover) entry(ctx context.Context, from, to string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	src, err := os.Lstat(from)
	if err != nil {
		return err
	}
	dst, err := os.Lstat(to)
	if errors.Is(err, fs.ErrNotExist) {
		err = rename(from, to, src)
		if !errors.Is(err, syscall.EXDEV) {
			return err
		}
		if !src.IsDir() {
			return m.copy(from, to, src)
		}
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		if err := m.children(ctx, from, to); err != nil {
			return err
		}
		return errors.Join(os.Chmod(to, mode(src)), os.Chtimes(to, time.Time{}, src.ModTime()), syncDir(filepath.Dir(to)))
	}
	if err != nil {
		return err
	}
	if src.IsDir() && dst.IsDir() {
		return m.children(ctx, from, to)
	}
	m.kept++
	return nil
}

func (m *mover) children(ctx context.Context, from, to string) error {
	if err := makeOpen(from); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := m.entry(ctx, filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return syncDir(to) // before what was copied is removed
}

// rename is rename(2). A folder that we may not write cannot be moved into
// another one, as its ".." changes.
func rename(from, to string, fi fs.FileInfo) error {
	if !fi.IsDir() || fi.Mode().Perm()&0o200 != 0 {
		return os.Rename(from, to)
	}
	if err := makeOpen(from); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return errors.Join(err, os.Chmod(from, mode(fi)))
	}
	return os.Chmod(to, mode(fi))
}

// makeOpen lets us take things out of a folder of ours.
func makeOpen(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil || fi.Mode().Perm()&0o700 == 0o700 {
		return err
	}
	return os.Chmod(dir, fi.Mode().Perm()|0o700)
}

// mode is what chmod(2) takes, with setuid, setgid and sticky.
func mode(fi fs.FileInfo) fs.FileMode {
	return fi.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
}

// copy copies a file or a link to another file system, whole or not at all: under
// another name first. What has its name is complete, also after a power failure.
func (m *mover) copy(from, to string, fi fs.FileInfo) (err error) {
	st := fi.Sys().(*syscall.Stat_t)
	id := inode{uint64(st.Dev), st.Ino}
	if first := m.links[id]; first != "" && os.Link(first, to) == nil {
		return nil
	}
	tmp := filepath.Join(filepath.Dir(to), fmt.Sprintf(".fuseless-%d-%d", os.Getpid(), st.Ino))
	defer os.Remove(tmp)
	switch fi.Mode().Type() {
	case fs.ModeSymlink:
		err = copyLink(from, tmp, fi)
	case 0:
		err = copyFile(from, tmp, fi)
	default:
		return nil // a vault holds nothing else
	}
	if err != nil {
		return err
	}
	// link(2) never replaces; where a file system has none, a look must do.
	if err := os.Link(tmp, to); errors.Is(err, fs.ErrExist) {
		m.kept++
		return nil
	} else if err != nil {
		if _, lerr := os.Lstat(to); lerr == nil {
			m.kept++
			return nil
		}
		if err := os.Rename(tmp, to); err != nil {
			return err
		}
	}
	if st.Nlink > 1 {
		m.links[id] = to
	}
	return nil
}

func copyLink(from, to string, fi fs.FileInfo) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	if err := os.Symlink(target, to); err != nil {
		return err
	}
	t := unix.NsecToTimespec(fi.ModTime().UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

func copyFile(from, to string, fi fs.FileInfo) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrPermission) {
		// Ours, but not even we may read it.
		if err = os.Chmod(from, mode(fi)|0o400); err == nil {
			in, err = os.Open(from)
		}
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = errors.Join(out.Chmod(mode(fi)), out.Sync())
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Chtimes(to, time.Time{}, fi.ModTime())
	}
	return err
}

// removeTree is os.RemoveAll that also removes what is in folders which may not
// be written.
func removeTree(dir string) error {
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = makeOpen(p)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
