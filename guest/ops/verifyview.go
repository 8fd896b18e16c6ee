//go:build linux

package ops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/rsync"
	"fuseless/guest/store"
)

// verifyWidth is how many folders are listed, or files read, at once: over a
// link each of them waits for round trips.
const verifyWidth = 16

// aliveFor is how long an answer of the remote counts: a vault with much damage
// must not ask for each file.
const aliveFor = time.Second

// viewing goes through the decrypted view of the vault.
type viewing struct {
	*verify
	cipher string // the encrypted folder
	root   string // its view
	said   *said

	ctl   sync.Mutex // guards names
	names *gocryptfs.Names

	link     sync.Mutex // guards answered
	answered time.Time  // when the remote was last seen to be alive

	mu    sync.Mutex // guards what follows
	dirs  []string   // plaintext, relative to root
	files []file
	base  []byte // the names of the files, one after the other: a million take less than 100 MB
	total int64
}

// file is a regular file of the view.
type file struct {
	dir   uint32 // index of its folder
	name  uint32 // where its name begins, which ends where that of the next begins
	size  int64  // bytes of plaintext
	mtime int64  // nanoseconds since 1970
	ino   uint64
	read  int64 // when it was last read, seconds since 1970; 0: never
}

// view mounts the vault and its view, and goes through it.
func (v *verify) view(ctx context.Context) (err error) {
	w := &viewing{verify: v, cipher: v.Destination.Path, root: filepath.Join(v.dir, "view")}
	if !v.Destination.Local {
		w.cipher = filepath.Join(v.dir, "remote")
		if err := v.step(ctx, proto.StepRemote, func() error { return v.mountRemote(ctx, w.cipher, false) }); err != nil {
			return err
		}
	}
	if err := os.Mkdir(w.root, 0o700); err != nil {
		return err
	}
	var m *gocryptfs.Mount
	if err := v.step(ctx, proto.StepView, func() (err error) {
		w.said = newSaid(v.log("verify"))
		m, err = gocryptfs.Start(ctx, w.cipher, w.root, v.Passphrase, gocryptfs.Options{
			Log: v.log("verify"), Config: v.config, Socket: filepath.Join(v.dir, "view.sock"),
		})
		return err
	}); err != nil {
		return err
	}
	defer m.Close(context.WithoutCancel(ctx))
	if w.names, err = gocryptfs.OpenNames(ctx, m.Socket); err != nil {
		return err
	}
	defer w.names.Close()
	err = v.step(ctx, proto.StepRead, func() error {
		if err := interruptible(ctx, func() error { return w.list(ctx) }); err != nil {
			return err
		}
		if !v.Verify.Data {
			return nil
		}
		v.setReadAhead(ctx, w.root)
		return interruptible(ctx, func() error { return w.read(ctx) })
	})
	if err != nil {
		return err
	}
	return m.Check()
}

// interruptible returns when f does, or when ctx ends: a goroutine that hangs on
// a dead link is freed when the mounts are taken down, and not before.
func interruptible(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select { // those that do not hang end at once
	case err := <-done:
		return err
	case <-time.After(time.Second):
		return ctx.Err()
	}
}

// list lists every folder of the view. A name that does not decrypt is left out
// by gocryptfs, so the encrypted folder is counted, too.
func (w *viewing) list(ctx context.Context) error {
	w.dirs = []string{"."}
	for first := 0; first < len(w.dirs); {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(verifyWidth)
		level := w.dirs[first:len(w.dirs):len(w.dirs)]
		for i, dir := range level {
			index := first + i
			g.Go(func() error {
				if err := gctx.Err(); err != nil {
					return err
				}
				return w.folder(gctx, index, dir)
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		first += len(level)
	}
	w.verify.mu.Lock()
	w.result.Walked = true
	w.verify.mu.Unlock()
	return nil
}

func (w *viewing) folder(ctx context.Context, index int, dir string) error {
	var entries []fs.DirEntry
	if err := w.twice(ctx, func() (err error) { entries, err = os.ReadDir(filepath.Join(w.root, dir)); return err }); err != nil {
		return w.trouble(ctx, dir, 0, err)
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		var fi fs.FileInfo
		if err := w.twice(ctx, func() (err error) { fi, err = e.Info(); return err }); err != nil {
			if err := w.trouble(ctx, p, 0, err); err != nil {
				return err
			}
			continue
		}
		switch {
		case fi.IsDir():
			w.mu.Lock()
			w.dirs = append(w.dirs, p)
			w.mu.Unlock()
		case fi.Mode().IsRegular():
			st, _ := fi.Sys().(*syscall.Stat_t)
			w.mu.Lock()
			w.files = append(w.files, file{dir: uint32(index), name: uint32(len(w.base)), size: fi.Size(), mtime: fi.ModTime().UnixNano(), ino: st.Ino})
			w.base = append(append(w.base, e.Name()...), 0)
			w.total += fi.Size()
			w.mu.Unlock()
		default:
			w.verify.mu.Lock()
			w.report(p, "is no file, folder or link in the vault")
			w.verify.mu.Unlock()
		case fi.Mode()&fs.ModeSymlink != 0:
			if err := w.twice(ctx, func() error { _, err := os.Readlink(filepath.Join(w.root, p)); return err }); err != nil {
				if err := w.trouble(ctx, p, 0, err); err != nil {
					return err
				}
			}
		}
	}
	w.verify.mu.Lock()
	w.result.Names += int64(len(entries))
	w.verify.mu.Unlock()
	if w.image != nil {
		return nil // compare has named them
	}
	return w.hidden(ctx, dir, len(entries))
}

// twice does f once more if it fails and the remote answers: a link that broke
// may have come back.
func (w *viewing) twice(ctx context.Context, f func() error) error {
	err := f()
	if err == nil || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if lerr := w.alive(ctx); lerr != nil {
		return lerr
	}
	return f()
}

// hidden compares the number of names in an encrypted folder with that in the
// view.
func (w *viewing) hidden(ctx context.Context, dir string, seen int) error {
	enc, err := w.encrypted(dir)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.unchecked(dir + ": whether names are hidden cannot be told: " + err.Error())
		return nil
	}
	var entries []fs.DirEntry
	if err := w.twice(ctx, func() (err error) { entries, err = os.ReadDir(filepath.Join(w.cipher, enc)); return err }); err != nil {
		return w.trouble(ctx, dir, 0, err)
	}
	n := 0
	for _, e := range entries {
		if !gocryptfs.Virtual(e.Name()) && e.Name() != rsync.PartialDir && !strings.HasPrefix(e.Name(), ".fuseless-probe-") {
			n++
		}
	}
	if n > seen {
		w.damage(dir, fmt.Sprintf("%d of the %d names in this folder cannot be decrypted", n-seen, n))
	}
	return nil
}

// encrypted is the encrypted path of a folder.
func (w *viewing) encrypted(dir string) (string, error) {
	if dir == "." {
		return ".", nil
	}
	w.ctl.Lock()
	defer w.ctl.Unlock()
	if lossy := string([]rune(dir)); lossy != dir {
		// The control socket speaks JSON, which carries no such names.
		return w.byElimination(dir)
	}
	return w.names.Encrypt(dir)
}

// byElimination looks for the folder among those of its parent.
func (w *viewing) byElimination(dir string) (string, error) {
	enc := "."
	plain := ""
	for part := range strings.SplitSeq(dir, "/") {
		plain = path.Join(plain, string([]rune(part)))
		entries, err := os.ReadDir(filepath.Join(w.cipher, enc))
		if err != nil {
			return "", err
		}
		found := ""
		for _, e := range entries {
			if p, ok := w.names.Decrypt(path.Join(enc, e.Name())); ok && p == plain {
				if found != "" {
					return "", errors.New("two names differ only in bytes that are not UTF-8")
				}
				found = path.Join(enc, e.Name())
			}
		}
		if found == "" {
			return "", errors.New("it is not found")
		}
		enc = found
	}
	return enc, nil
}

// trouble judges an error in the view: damage, something that we may not read,
// or the link. Only the last ends the run.
func (w *viewing) trouble(ctx context.Context, plain string, ino uint64, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	var ours *proto.Error
	if errors.As(err, &ours) { // of alive
		return ours
	}
	if ino != 0 && w.said.corrupt(ino) {
		w.damage(plain, "its contents are damaged: they do not authenticate")
		return nil
	}
	reason := err
	var pe *fs.PathError
	if errors.As(err, &pe) {
		reason = pe.Err
	}
	if errors.Is(err, fs.ErrPermission) {
		w.unchecked(plain + ": " + reason.Error())
		return nil
	}
	if lerr := w.alive(ctx); lerr != nil {
		return lerr
	}
	if ino == 0 && errors.Is(err, syscall.EIO) {
		w.damage(plain, "cannot be decrypted")
		return nil
	}
	w.unchecked(plain + ": " + reason.Error())
	return nil
}

// alive tells whether the remote and the mounts still answer: an error of the
// link must not pass for damage.
func (w *viewing) alive(ctx context.Context) error {
	w.link.Lock()
	defer w.link.Unlock()
	if time.Since(w.answered) < aliveFor {
		return nil
	}
	s, err := store.Open(ctx, w.Destination)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err = s.Lstat(w.Destination.Path); err == nil {
		_, err = os.ReadDir(w.cipher)
	}
	if err != nil {
		return proto.Errorf(proto.Remote, "the connection to the vault was lost while it was read: %w", err).
			WithHint("run it again when the connection is back: what was read is remembered")
	}
	w.answered = time.Now()
	return nil
}
