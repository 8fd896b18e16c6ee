package compare_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	"fuseless/magefiles/compare"
)

// plant makes a small tree with one of everything.
func plant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return dir + "/" + name }
	must(t,
		os.Mkdir(at("folder"), 0o755),
		os.WriteFile(at("folder/file"), []byte("content"), 0o644),
		os.WriteFile(at("caf\u00e9"), []byte("NFC"), 0o644),
		os.WriteFile(at("setuid"), []byte("content"), 0o644),
		unix.Chmod(at("setuid"), 0o4755),
		os.WriteFile(at("a"), []byte("linked"), 0o644),
		os.Link(at("a"), at("folder/b")),
		os.WriteFile(at("c"), []byte("linked"), 0o644),
		os.Symlink("a", at("symlink")),
		os.WriteFile(at("xattr"), nil, 0o644),
		os.WriteFile(at("sparse"), nil, 0o644),
		os.Truncate(at("sparse"), 1<<20),
		os.WriteFile(at("old"), nil, 0o644),
		unix.Mkfifo(at("fifo"), 0o644),
	)
	if err := xattr.LSet(at("xattr"), "user.x", []byte("1")); err != nil {
		t.Skipf("no extended attributes here: %v", err)
	}
	if root() {
		must(t, unix.Mknod(at("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(60, 1))))
	}
	for _, p := range paths(t, dir) {
		settime(t, p, 1_600_000_000, 500)
	}
	settime(t, at("old"), -2, 500_000_000)
	return dir
}

func root() bool { return os.Geteuid() == 0 }

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func paths(t *testing.T, dir string) (all []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		all = append(all, p)
		return err
	}))
	return all
}

func settime(t *testing.T, path string, sec, nsec int64) {
	t.Helper()
	var ts unix.Timespec
	ts.Sec, ts.Nsec = sec, nsec
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

func local(t *testing.T, dir string) compare.Tree {
	t.Helper()
	tree, err := compare.Local(t.Context(), dir)
	must(t, err)
	return tree
}

// found is the differences as "attribute path" words.
func found(diffs []compare.Difference) string {
	var s []string
	for _, d := range diffs {
		s = append(s, fmt.Sprintf("%s %s", d.Attribute, d.Path))
	}
	return strings.Join(s, ", ")
}

// Each attribute of a tree is changed in turn, and exactly that is found.
func TestCompareFindsEveryDifference(t *testing.T) {
	write := func(name, data string) func(string) error {
		return func(dir string) error { return os.WriteFile(dir+"/"+name, []byte(data), 0o644) }
	}
	replace := func(name string, f func(path string) error) func(string) error {
		return func(dir string) error {
			return errors.Join(os.Remove(dir+"/"+name), f(dir+"/"+name))
		}
	}
	for _, tt := range []struct {
		name   string
		change func(dir string) error
		want   string
		root   bool
	}{
		{"nothing", func(string) error { return nil }, "", false},
		{"one byte", write("folder/file", "cOntent"), "content folder/file", false},
		{"shorter", write("folder/file", "conten"), "size folder/file, content folder/file", false},
		{"missing file", replace("folder/file", func(string) error { return nil }), "missing folder/file", false},
		{"missing folder", func(dir string) error { return os.RemoveAll(dir + "/folder") },
			"nlink a, missing folder, missing folder/b, missing folder/file", false},
		{"extra file", write("new", ""), "extra new", false},
		{"renormalised name", func(dir string) error { return os.Rename(dir+"/caf\u00e9", dir+"/cafe\u0301") },
			"extra cafe\u0301, missing caf\u00e9", false},
		{"folder for a file", replace("setuid", func(p string) error { return os.Mkdir(p, 0o755) }), "kind setuid", false},
		{"file for a symlink", replace("symlink", func(p string) error { return os.WriteFile(p, []byte("LINKED"), 0o644) }),
			"kind symlink, content symlink", false},
		{"copy for a symlink", replace("symlink", func(p string) error { return os.WriteFile(p, []byte("linked"), 0o644) }),
			"kind symlink", false},
		{"file for a fifo", replace("fifo", func(p string) error { return os.WriteFile(p, nil, 0o644) }), "kind fifo", false},
		{"mode", func(dir string) error { return os.Chmod(dir+"/folder", 0o700) }, "mode folder", false},
		{"setuid", func(dir string) error { return unix.Chmod(dir+"/setuid", 0o755) }, "mode setuid", false},
		{"root's mode", func(dir string) error { return os.Chmod(dir, 0o700) }, "mode .", false},
		{"uid", func(dir string) error { return os.Lchown(dir+"/symlink", 1, -1) }, "owner symlink", true},
		{"gid", func(dir string) error { return os.Lchown(dir+"/c", -1, 1) }, "owner c", true},
		{"target", replace("symlink", func(p string) error { return os.Symlink("A", p) }), "target symlink", false},
		{"link broken", replace("folder/b", func(p string) error { return os.WriteFile(p, []byte("linked"), 0o644) }),
			"hardlink a, hardlink folder/b", false},
		{"link made", replace("c", func(p string) error { return os.Link(filepath.Dir(p)+"/a", p) }),
			"hardlink a, hardlink c, hardlink folder/b", false},
		{"link moved", func(dir string) error {
			return errors.Join(os.Remove(dir+"/folder/b"), os.WriteFile(dir+"/folder/b", []byte("linked"), 0o644),
				os.Remove(dir+"/c"), os.Link(dir+"/a", dir+"/c"))
		}, "hardlink c, hardlink folder/b", false},
		{"link from outside", func(dir string) error { return os.Link(dir+"/c", dir+".outside") }, "nlink c", false},
		{"xattr value", func(dir string) error { return xattr.LSet(dir+"/xattr", "user.x", []byte("2")) }, "xattr xattr", false},
		{"xattr removed", func(dir string) error { return xattr.LRemove(dir+"/xattr", "user.x") }, "xattr xattr", false},
		{"xattr added", func(dir string) error { return xattr.LSet(dir+"/folder", "user.y", nil) }, "xattr folder", false},
		{"xattr renamed", func(dir string) error {
			return errors.Join(xattr.LRemove(dir+"/xattr", "user.x"), xattr.LSet(dir+"/xattr", "user.y", []byte("1")))
		}, "xattr xattr", false},
		{"filled hole", func(dir string) error { return os.WriteFile(dir+"/sparse", make([]byte, 1<<20), 0o644) }, "holes sparse", false},
		{"device number", replace("device", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(60, 2))) }),
			"rdev device", true},
		{"block for char", replace("device", func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o600, int(unix.Mkdev(60, 1))) }),
			"kind device", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root && !root() {
				t.Skip("needs root")
			}
			a, b := plant(t), plant(t)
			want := local(t, a)
			must(t, tt.change(b))
			for _, p := range paths(t, b) { // what the change did to times is not the point
				settime(t, p, 1_600_000_000, 500)
			}
			settime(t, b+"/old", -2, 500_000_000)
			if got := found(compare.Compare(want, local(t, b))); got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCompareTimes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		sec, nsec int64
		want      string
	}{
		{"setuid", 1_600_000_000, 500, ""},
		{"setuid", 1_600_000_000, 501, "mtime-subsecond setuid"},
		{"setuid", 1_600_000_000, 0, "mtime-subsecond setuid"},
		{"setuid", 1_600_000_001, 500, "mtime setuid"},
		{"setuid", 1_599_999_999, 999_999_999, "mtime setuid"},
		{"folder", 1_600_000_000, 501, "mtime-subsecond folder"},
		{"symlink", 1_600_000_001, 500, "mtime symlink"},
		{".", 1_600_000_001, 500, "mtime ."},
		{"old", -2, 0, "mtime-subsecond old"}, // -1.5 s is in the second that begins at -2 s
		{"old", -1, 0, "mtime old"},
		{"setuid", 1<<32 + 1, 0, "mtime setuid"},
	} {
		a, b := plant(t), plant(t)
		settime(t, b+"/"+tt.name, tt.sec, tt.nsec)
		if got := found(compare.Compare(local(t, a), local(t, b))); got != tt.want {
			t.Errorf("%s at %d.%09d: found %q, want %q", tt.name, tt.sec, tt.nsec, got, tt.want)
		}
	}
}

// What could not be read is a difference, also if neither side could.
func TestCompareReportsTheUnreadable(t *testing.T) {
	dir := plant(t)
	for _, side := range []string{"want", "got", "both"} {
		want, got := local(t, dir), local(t, dir)
		if side != "got" {
			want.Entries["c"].Err, want.Entries["c"].Sum = "open: refused", ""
		}
		if side != "want" {
			got.Entries["c"].Err, got.Entries["c"].Sum = "open: refused", ""
		}
		if got := found(compare.Compare(want, got)); got != "unreadable c" {
			t.Errorf("%s: found %q", side, got)
		}
	}
	got := local(t, dir)
	*got.Entries["folder"] = compare.Entry{Kind: compare.Unknown, Err: "lstat: input/output error"}
	if got := found(compare.Compare(local(t, dir), got)); got != "unreadable folder" {
		t.Errorf("no lstat: found %q", got)
	}
}

func TestLocalKeepsErrorsWithTheirEntries(t *testing.T) {
	if root() {
		t.Skip("root can read everything")
	}
	dir := plant(t)
	must(t, os.Chmod(dir+"/c", 0), os.Chmod(dir+"/folder", 0))
	t.Cleanup(func() { os.Chmod(dir+"/folder", 0o755) })
	tree := local(t, dir)
	for _, p := range []string{"c", "folder"} {
		if tree.Entries[p].Err == "" {
			t.Errorf("%s: no error", p)
		}
	}
}

func TestLocalRoot(t *testing.T) {
	dir := plant(t)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	if diffs := compare.Compare(local(t, dir), local(t, link)); len(diffs) > 0 {
		t.Errorf("through a symlink to the root: %v", diffs)
	}
	for _, bad := range []string{dir + "/nothing", dir + "/c"} {
		if _, err := compare.Local(t.Context(), bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := compare.Local(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A tree that does not know an attribute loses it wherever there is some; the
// other way round nothing is asked for.
func TestCompareWithWhatIsNotKnown(t *testing.T) {
	dir := plant(t)
	want, got := local(t, dir), local(t, dir)
	got.Known = map[compare.Attribute]bool{compare.Size: true, compare.Content: true}
	counts := map[compare.Attribute]int{}
	for _, d := range compare.Compare(want, got) {
		if d.Got != "not carried" {
			t.Error(d)
		}
		counts[d.Attribute]++
	}
	all := len(want.Entries)
	devices := 0
	if root() {
		devices = 1
	}
	for a, n := range map[compare.Attribute]int{
		compare.Mode: all - 1, compare.Owner: all, compare.MTime: all, compare.HardLink: 2, compare.Xattr: 1,
		compare.Holes: 1, compare.Target: 1, compare.Rdev: devices, compare.Size: 0, compare.Content: 0,
	} {
		if counts[a] != n {
			t.Errorf("%s: %d entries lose it, want %d", a, counts[a], n)
		}
	}
	if diffs := compare.Compare(got, want); len(diffs) > 0 {
		t.Errorf("the other way round: %v", diffs)
	}
}
