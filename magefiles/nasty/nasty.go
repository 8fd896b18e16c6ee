// Package nasty makes folders that are hard to back up: one holds everything
// that comes back from a backup with gocryptfs and rsync, or is lost in a way
// that the tables of permitted losses name; the other what makes rsync fail.
package nasty

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"
)

// DefaultBulk is the size of bulk.bin unless Options say otherwise, in bytes.
const DefaultBulk = 64 << 20

// Options of Make. The zero value has neither special files nor bulk data.
type Options struct {
	Bulk    int64  // bytes of incompressible data in bulk.bin; 0 leaves it out
	Seed    uint64 // of all contents; the same seed gives the same tree
	Special bool   // make FIFOs, sockets and devices too
}

// Defaults are the options for a full tree: 64 MiB of bulk data, special files.
func Defaults() Options { return Options{Bulk: DefaultBulk, Special: true} }

// Made is what Make made.
type Made struct {
	Dir     string
	Entries int      // entries, without Dir itself
	Bytes   int64    // sum of the sizes of all regular files; hard links count once
	Left    []string // what this system or user could not make, and why
}

// Make fills dir, which must be empty or not exist yet (its parent must). What
// the system, the file system or the user does not allow is left out and noted
// in Made.Left; an ordinary user cannot read files of mode 0000, so for one
// those are left out as well: a backup of them would never be complete.
//
// An error means that the tree is of no use: dir is not empty, or not even an
// ordinary file could be made.
func Make(dir string, opts Options) (*Made, error) {
	m, err := newMaker(dir, opts.Seed)
	if err != nil {
		return nil, fmt.Errorf("nasty tree: %w", err)
	}
	m.contents(opts.Bulk)
	m.modes()
	m.owners()
	m.times()
	m.links()
	m.names()
	m.folders()
	m.xattrs()
	if opts.Special {
		m.special()
	}
	if err := m.finish(); err != nil {
		return nil, fmt.Errorf("nasty tree: %w", err)
	}
	return &m.made, nil
}

// MakeFailing fills dir like Make, with what cannot be backed up: a symlink
// target and a path that are too long once they are encrypted (rsync ends with
// status 23), and a date after April 2262. The reverse mount of gocryptfs 2.3
// shows that as 1861, its nanoseconds having passed 64 bits; the vault holds
// 1901, ext4's earliest, and every run of rsync sends the file again.
func MakeFailing(dir string) (*Made, error) {
	m, err := newMaker(dir, 0)
	if err != nil {
		return nil, fmt.Errorf("failing tree: %w", err)
	}
	m.file("good.txt", []byte("this one can be backed up\n"))
	m.symlink("target-4095", repeat("a/", 4095))
	deep := "deep"
	m.dir(deep)
	for range 18 {
		deep += "/" + repeat("d", 160)
		m.dir(deep)
	}
	m.file(deep+"/file", []byte("too deep\n"))
	m.file("2446", []byte("a date after 2262\n")).mtime = time.Date(2446, 5, 1, 0, 0, 0, 7, time.UTC)
	if !root() {
		m.file("unreadable", []byte("an ordinary user cannot read this\n")).mode = ptr[uint32](0)
	}
	if err := m.finish(); err != nil {
		return nil, fmt.Errorf("failing tree: %w", err)
	}
	return &m.made, nil
}

// maker makes entries at once, and sets their metadata at the end, children
// before their folders: making a child changes its folder's mtime, and needs
// its folder's write permission.
type maker struct {
	made  Made
	rand  *rand.ChaCha8
	nodes []*node // in the order of making: folders before what is in them
	hard  int     // failures to make an ordinary file or folder
}

// node is an entry with the metadata that it gets at the end.
type node struct {
	path    string // relative to Dir
	symlink bool
	mode    *uint32
	owner   *[2]int
	mtime   time.Time
	xattrs  map[string][]byte
}

func ptr[T any](v T) *T { return &v }

func newMaker(dir string, seed uint64) (*maker, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("%s is not empty", dir)
	}
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return &maker{made: Made{Dir: dir}, rand: rand.NewChaCha8(key)}, nil
}

// abs is the path of rel. filepath.Join would clean names away.
func (m *maker) abs(rel string) string { return m.made.Dir + "/" + rel }

// left notes what could not be made; of err only what the system said.
func (m *maker) left(what string, err error) {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	m.made.Left = append(m.made.Left, fmt.Sprintf("%s: %v", what, err))
}

// add notes that rel was made, with a mtime of its own that has nanoseconds.
func (m *maker) add(rel string) *node {
	n := &node{path: rel, mtime: time.Unix(1_600_000_000+int64(len(m.nodes))*86_399, 123_456_789+int64(len(m.nodes)))}
	m.nodes = append(m.nodes, n)
	m.made.Entries++
	return n
}

// file makes a regular file. Like all makers of nodes it returns a node that
// leads nowhere when it failed, so that callers can go on.
func (m *maker) file(rel string, data []byte) *node {
	f, err := os.OpenFile(m.abs(rel), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		_, err = f.Write(data)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		m.left(fmt.Sprintf("file %q", rel), err)
		return &node{}
	}
	m.made.Bytes += int64(len(data))
	n := m.add(rel)
	n.mode = ptr[uint32](0o644) // whatever the umask is
	return n
}

func (m *maker) dir(rel string) *node {
	if err := os.Mkdir(m.abs(rel), 0o755); err != nil {
		m.left(fmt.Sprintf("folder %q", rel), err)
		return &node{}
	}
	n := m.add(rel)
	n.mode = ptr[uint32](0o755)
	return n
}

func (m *maker) symlink(rel, target string) *node {
	if err := os.Symlink(target, m.abs(rel)); err != nil {
		m.left(fmt.Sprintf("symlink %q", rel), err)
		return &node{}
	}
	n := m.add(rel)
	n.symlink = true
	return n
}

// finish sets the metadata of every entry, in the order in which one system
// call undoes the other: chown clears setuid and capabilities (chown(2)), and an
// ACL changes the mode's group bits.
func (m *maker) finish() error {
	if m.made.Entries == 0 {
		return errors.New("nothing could be made: " + fmt.Sprint(m.made.Left))
	}
	for _, n := range slices.Backward(m.nodes) {
		path := m.abs(n.path)
		if n.owner != nil {
			if err := os.Lchown(path, n.owner[0], n.owner[1]); err != nil {
				m.left(fmt.Sprintf("owner %d:%d of %q", n.owner[0], n.owner[1], n.path), err)
			}
		}
		if n.mode != nil {
			if err := unix.Chmod(path, *n.mode); err != nil {
				m.left(fmt.Sprintf("mode %04o of %q", *n.mode, n.path), err)
			}
		}
		for name, value := range n.xattrs {
			if err := xattr.LSet(path, name, value); err != nil {
				m.left(fmt.Sprintf("xattr %s of %q", name, n.path), err)
			}
		}
		m.setTime(path, n)
	}
	return m.setRootTime()
}

// setTime sets the mtime of n, in seconds and nanoseconds: os.Chtimes goes
// through nanoseconds in an int64, which end in 2262.
func (m *maker) setTime(path string, n *node) {
	ts := unix.Timespec{}
	ts.Sec, ts.Nsec = n.mtime.Unix(), int64(n.mtime.Nanosecond())
	err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	what := fmt.Sprintf("mtime %s of %q", n.mtime.UTC().Format(time.RFC3339Nano), n.path)
	if err != nil {
		m.left(what, err)
		return
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		m.left(what, err)
	} else if st.Mtim != ts { // file systems round and clamp without a word
		m.left(what, fmt.Errorf("the file system made it %s", time.Unix(int64(st.Mtim.Sec), int64(st.Mtim.Nsec)).UTC().Format(time.RFC3339Nano)))
	}
}

func (m *maker) setRootTime() error {
	if err := os.Chmod(m.made.Dir, 0o755); err != nil {
		return err
	}
	m.setTime(m.made.Dir, &node{path: ".", mtime: time.Unix(1_500_000_000, 987_654_321)})
	return nil
}

// random is n incompressible bytes, the same ones for the same seed.
func (m *maker) random(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(m.rand, b); err != nil {
		panic(err) // ChaCha8 does not fail
	}
	return b
}
