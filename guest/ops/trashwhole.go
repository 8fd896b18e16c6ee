//go:build linux

package ops

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// whole makes a vault of a copy of a folder of the trash, which has the
// encrypted files at their paths, and not what gocryptfs needs besides:
//
//   - the directory IV of each folder. In a reverse vault it is a hash of the
//     folder's encrypted path (gocryptfs, internal/pathiv), so it is computed. One
//     that lies in the trash is replaced: gocryptfs before 2.5.0 may have served a
//     wrong one (gocryptfs#802), which a later pass moved there;
//   - the long names of what was replaced, whose `.name` stayed in the vault, or
//     went to the trash later. The file's own name is a hash of what is in it, so
//     the right one is recognised wherever it is;
//   - the configuration: the vault's own, since an old one may want an old
//     passphrase.
type whole struct {
	run    *run
	root   string   // the copy, on this machine
	config []byte   // of the vault
	names  []string // folders of the trash in which a long name may be, after the vault

	mu    sync.Mutex
	store store.FS // opened when it is needed

	lost   []string // encrypted paths of what has no name any more
	again  []string // encrypted paths that are in the trash a second time, of the same run
	parsed *gocryptfs.Config
}

func (w *whole) make(ctx context.Context) (err error) {
	if w.parsed, err = gocryptfs.ParseConfig(w.config); err != nil {
		return err
	}
	if err := os.MkdirAll(w.root, 0o700); err != nil {
		return err
	}
	defer func() {
		if w.store != nil {
			_ = w.store.Close()
		}
	}()
	if err := w.folder(ctx, ""); err != nil {
		return err
	}
	return replace(filepath.Join(w.root, gocryptfs.ConfigName), w.config)
}

// folder completes the folder rel and all below it. Mode and time of a folder
// stay as they are.
func (w *whole) folder(ctx context.Context, rel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := filepath.Join(w.root, rel)
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if fi.Mode().Perm()&0o700 != 0o700 {
		if err := os.Chmod(dir, fi.Mode().Perm()|0o700); err != nil {
			return err
		}
		defer os.Chmod(dir, modeOf(fi))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(listWidth)
	for _, e := range entries {
		name, p := e.Name(), path.Join(rel, e.Name())
		if base, again := numbered(name); again && !w.parsed.PlaintextNames() {
			// The run put something of that name here before. Its name does not
			// decrypt, and what came first is what the backup before had.
			if !gocryptfs.Virtual(base) {
				w.again = append(w.again, p)
			}
			if err := removeStaging(ctx, filepath.Join(dir, name)); err != nil {
				return err
			}
			continue
		}
		if longName(name) && w.parsed.LongNames() && !rightName(name, readSmall(filepath.Join(dir, name+".name"))) {
			g.Go(func() error {
				b, err := w.longName(ctx, p) // the connection outlives this folder
				if err == nil && b != nil {
					return replace(filepath.Join(dir, name+".name"), b)
				}
				if err == nil {
					w.mu.Lock()
					w.lost = append(w.lost, p)
					w.mu.Unlock()
				}
				return err
			})
		}
		if e.IsDir() {
			if err := w.folder(ctx, p); err != nil {
				return errors.Join(err, g.Wait())
			}
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if w.parsed.DirIV() {
		if err := replace(filepath.Join(dir, "gocryptfs.diriv"), dirIV(rel)); err != nil {
			return err
		}
	}
	t := unix.NsecToTimespec(fi.ModTime().UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, dir, []unix.Timespec{t, t}, 0)
}

// dirIV is the directory IV of a folder of a reverse vault, by its encrypted
// path, which is empty for the root (gocryptfs, internal/pathiv: Derive with
// PurposeDirIV; a test compares it with what gocryptfs serves).
func dirIV(rel string) []byte {
	sum := sha256.Sum256([]byte(rel + "\x00DIRIV"))
	return sum[:16]
}

const longPrefix = "gocryptfs.longname."

// longName tells whether a file stands for one whose encrypted name is too long
// for a file system; that name is in NAME.name.
func longName(name string) bool {
	return strings.HasPrefix(name, longPrefix) && !strings.HasSuffix(name, ".name")
}

// rightName tells whether content is the name for which the file stands
// (gocryptfs, internal/nametransform: HashLongName).
func rightName(file string, content []byte) bool {
	sum := sha256.Sum256(content)
	hash := strings.TrimPrefix(file, longPrefix)
	return len(content) > 0 && (hash == base64.RawURLEncoding.EncodeToString(sum[:]) || hash == base64.URLEncoding.EncodeToString(sum[:]))
}

// longName looks for the name of p, first in the vault and then in the trash;
// nil if nobody has it.
func (w *whole) longName(ctx context.Context, p string) ([]byte, error) {
	w.mu.Lock()
	if w.store == nil {
		st, err := w.run.connect(ctx)
		if err != nil {
			w.mu.Unlock()
			return nil, err
		}
		w.store = st
	}
	w.mu.Unlock()
	places := []string{w.run.Destination.Path}
	for _, n := range w.names {
		places = append(places, path.Join(w.run.Destination.Trash, n))
	}
	for _, place := range places {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := w.store.ReadFile(path.Join(place, p+".name"), maxName)
		if err == nil && rightName(path.Base(p), b) {
			return b, nil
		}
		if errors.Is(err, proto.ErrLink) {
			return nil, proto.Errorf(proto.Remote, "cannot read from %s: %w", w.run.Destination.Label, err).WithHint("run it again: it goes on where it was")
		}
		// Whatever else is wrong with one place, another may have it.
	}
	return nil, nil
}

// maxName bounds the content of a `.name`: 255 bytes, encrypted, are 384.
const maxName = 4096

// nameSources are the folders of the trash in the order in which they are asked
// for a long name: the entry itself, those after it, and then those before it.
func nameSources(runs []proto.TrashRun, own []string) (names []string) {
	var before, after []string
	seen := false
	for _, run := range runs {
		if slices.ContainsFunc(run.Folders, func(f string) bool { return slices.Contains(own, f) }) {
			seen = true
			names = append(names, run.Folders...)
		} else if seen {
			after = append(after, run.Folders...)
		} else {
			before = append(before, run.Folders...)
		}
	}
	return append(append(names, after...), before...)
}

var numberedRE = regexp.MustCompile(`^(.+)\.(\d{1,3})$`)

// numbered undoes what store.Move does to a name that is taken. An encrypted
// name has no dot.
func numbered(name string) (base string, is bool) {
	if m := numberedRE.FindStringSubmatch(name); m != nil {
		return m[1], true
	}
	return name, false
}

// replace writes a file of gocryptfs's own anew.
func replace(name string, data []byte) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(name, data, 0o400)
}

func readSmall(name string) []byte {
	fi, err := os.Lstat(name)
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxName {
		return nil
	}
	b, _ := os.ReadFile(name)
	return b
}

// modeOf is what chmod(2) takes.
func modeOf(fi fs.FileInfo) fs.FileMode {
	return fi.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
}
