package chain

import (
	"context"
	"errors"
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
func (v *vault) restoreByVM(ctx context.Context, to, only string) error {
	home := v.Config.VM.RestoreDir
	if home == "" {
		return proto.Errorf(proto.Config, "the VM has no folder to restore into").WithHint("set `vm: {restore: DIR}` in %s", v.Config.File)
	}
	if rel, err := filepath.Rel(home, to); err == nil && rel != "." && !strings.HasPrefix(rel, "..") {
		return v.restore(ctx, templates.RestorePoint+"/"+rel, only, nil)
	}
	if fi, err := os.Stat(to); err == nil && !fi.IsDir() {
		return proto.Errorf(proto.Source, "%s is not a folder", to).WithHint("choose another one with -to=DIR")
	}
	// The same name each time: what a broken try has fetched is used by the next.
	name := "." + v.Name + "-" + v.instance
	from := filepath.Join(home, name)
	var result *proto.RestoreResult
	rerr := v.restore(ctx, templates.RestorePoint+"/"+name, only, func(r *proto.RestoreResult) { result = r })
	if rerr != nil && proto.CodeOf(rerr) != proto.Incomplete {
		if _, serr := os.Stat(from); serr == nil {
			v.screen.Say("what was restored so far is in %s; the next try goes on from there", from)
		}
		return rerr
	}
	kept, err := moveTree(ctx, from, to)
	if err != nil {
		return proto.Errorf(proto.CodeOf(full(err)), "cannot move what was restored from %s to %s: %w", from, to, err).
			WithHint("run it again: nothing is overwritten, and what is not moved yet is still in %s", from)
	}
	if err := removeTree(from); err != nil {
		v.screen.Say("warning: cannot remove %s: %v", from, err)
	}
	if result != nil {
		result.To, result.Existing = to, result.Existing+kept
		v.screen.Restore(result)
	}
	return rerr
}

func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return proto.Errorf(proto.NoSpace, "%w", err)
	}
	return proto.Errorf(proto.Source, "%w", err)
}

// moveTree moves what is in the folder from into the folder to, and counts what
// it left because something of that name was there. A folder gets its mode and
// time when all that is in it is moved.
func moveTree(ctx context.Context, from, to string) (kept int64, err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return 0, err
	}
	return moveEntry(ctx, from, to)
}

func moveEntry(ctx context.Context, from, to string) (kept int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	src, err := os.Lstat(from)
	if err != nil {
		return 0, err
	}
	dst, err := os.Lstat(to)
	if errors.Is(err, fs.ErrNotExist) {
		err = rename(from, to, src)
		if !errors.Is(err, syscall.EXDEV) {
			return 0, err
		}
		if !src.IsDir() {
			return 0, copyEntry(from, to, src)
		}
		if err := os.Mkdir(to, 0o700); err != nil {
			return 0, err
		}
		kept, err := moveChildren(ctx, from, to)
		if err != nil {
			return kept, err
		}
		return kept, errors.Join(os.Chmod(to, mode(src)), os.Chtimes(to, time.Time{}, src.ModTime()))
	}
	if err != nil {
		return 0, err
	}
	if src.IsDir() && dst.IsDir() {
		return moveChildren(ctx, from, to)
	}
	return 1, nil
}

func moveChildren(ctx context.Context, from, to string) (kept int64, err error) {
	if err := makeOpen(from); err != nil {
		return 0, err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		n, err := moveEntry(ctx, filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		kept += n
		if err != nil {
			return kept, err
		}
	}
	return kept, nil
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

// copyEntry copies a file or a link to another file system, whole or not at all.
func copyEntry(from, to string, fi fs.FileInfo) (err error) {
	switch fi.Mode().Type() {
	case fs.ModeSymlink:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, to); err != nil {
			return err
		}
		t := unix.NsecToTimespec(fi.ModTime().UnixNano())
		return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	case 0:
	default:
		return nil // a vault holds nothing else
	}
	in, err := os.Open(from)
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
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = errors.Join(os.Chmod(to, mode(fi)), os.Chtimes(to, time.Time{}, fi.ModTime()))
	}
	if err != nil {
		_ = os.Remove(to)
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
