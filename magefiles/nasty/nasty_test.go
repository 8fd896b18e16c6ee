package nasty_test

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fuseless/magefiles/compare"
	"fuseless/magefiles/nasty"
)

func planted(t *testing.T, opts nasty.Options) (*nasty.Made, compare.Tree) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	t.Cleanup(func() {
		if err := nasty.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	made, err := nasty.Make(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := compare.Local(t.Context(), made.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return made, tree
}

// Two trees of one seed are the same in every attribute; the seed changes
// contents and nothing else.
func TestMakeIsDeterministic(t *testing.T) {
	opts := nasty.Options{Bulk: 1 << 20, Special: true}
	_, a := planted(t, opts)
	_, b := planted(t, opts)
	for _, d := range compare.Compare(a, b) {
		// These name the folder that they are in, and that differs.
		if d.Attribute != compare.Target || (d.Path != "links/absolute" && d.Path != "links/back in") {
			t.Error(d)
		}
	}
	opts.Seed = 1
	_, c := planted(t, opts)
	changed := map[string]bool{}
	for _, d := range compare.Compare(a, c) {
		if d.Attribute != compare.Content && d.Attribute != compare.Target && d.Attribute != compare.Xattr {
			t.Error(d)
		}
		changed[d.Path] = true
	}
	if !changed["bulk.bin"] {
		t.Error("the seed does not change bulk.bin")
	}
}

// As root on a file system that stores everything, nothing may be left out, and
// everything that the tables of losses speak of must be there.
func TestMakeIsComplete(t *testing.T) {
	made, tree := planted(t, nasty.Options{Bulk: 1 << 20, Special: true})
	if made.Entries != len(tree.Entries)-1 {
		t.Errorf("%d entries made, %d in the tree", made.Entries, len(tree.Entries)-1)
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root")
	}
	for _, l := range made.Left {
		t.Error("left:", l)
	}
	has := map[string]bool{}
	var bytes int64
	for p, e := range tree.Entries {
		if e.Err != "" {
			t.Errorf("%q: %s", p, e.Err)
		}
		has[string(e.Kind)] = true
		has[fmt.Sprintf("%s %04o", e.Kind, e.Mode)] = true
		has["sparse"] = has["sparse"] || e.Sparse()
		has["linked"] = has["linked"] || e.Paths > 1 && e.Kind == compare.File
		for x := range e.Xattrs {
			has[x] = true
		}
		if e.Inode == p {
			bytes += e.Size
		}
		name := filepath.Base(p)
		has[fmt.Sprintf("%s named with %d bytes", e.Kind, len(name))] = true
		if !strings.Contains(p, "/") {
			has["root "+name] = true
		}
	}
	for _, want := range []string{
		"fifo", "socket", "chardev", "blockdev", "symlink", "sparse", "linked", "security.capability", "system.posix_acl_access",
		"file 0000", "file 4755", "file 0444", "dir 1777", "dir 2775", "file named with 255 bytes", "dir named with 255 bytes",
		"file named with 175 bytes", "file named with 176 bytes", "root gocryptfs.conf", "root gocryptfs.diriv",
	} {
		if !has[want] {
			t.Errorf("no %s", want)
		}
	}
	if bytes != made.Bytes {
		t.Errorf("%d bytes made, %d in the tree", made.Bytes, bytes)
	}
}

func TestBulkIsIncompressible(t *testing.T) {
	made, _ := planted(t, nasty.Options{Bulk: 1 << 20})
	data, err := os.ReadFile(made.Dir + "/bulk.bin")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.BestCompression)
	w.Write(data)
	w.Close()
	if len(data) != 1<<20 || out.Len() < len(data) {
		t.Errorf("%d bytes compress to %d", len(data), out.Len())
	}
}

func TestSpecialCanBeLeftOut(t *testing.T) {
	_, tree := planted(t, nasty.Options{})
	for p, e := range tree.Entries {
		switch e.Kind {
		case compare.FIFO, compare.Socket, compare.CharDev, compare.BlockDev:
			t.Errorf("%q is a %s", p, e.Kind)
		}
	}
	if tree.Entries["bulk.bin"] != nil {
		t.Error("bulk.bin of no bytes")
	}
}

func TestRemoveKeepsOffMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	dir := t.TempDir()
	for _, err := range []error{os.WriteFile(dir+"/a", nil, 0o600), os.Mkdir(dir+"/m", 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "none", dir+"/m").CombinedOutput(); err != nil {
		t.Skipf("no mount: %s", out)
	}
	t.Cleanup(func() { exec.Command("umount", dir+"/m").Run() })
	if err := os.WriteFile(dir+"/m/precious", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := nasty.Remove(dir); err == nil {
		t.Error("no error")
	}
	for _, p := range []string{"/a", "/m/precious"} {
		if _, err := os.Stat(dir + p); err != nil {
			t.Error(err)
		}
	}
	if err := nasty.Remove(dir + "/nothing"); err != nil {
		t.Error(err)
	}
}

func TestMakeRefusesAFolderWithFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/precious", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := nasty.Make(dir, nasty.Options{}); err == nil {
		t.Fatal("made a tree among a user's files")
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left %v", names)
	}
}

// An ordinary user gets a tree that the same user can read in full, and a note
// of what is not in it. The test runs itself again as nobody.
func TestMakeAsOrdinaryUser(t *testing.T) {
	if dir := os.Getenv("NASTY_TEST_DIR"); dir != "" {
		made, err := nasty.Make(dir, nasty.Defaults())
		if err != nil {
			t.Fatal(err)
		}
		tree, err := compare.Local(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for p, e := range tree.Entries {
			if e.Err != "" {
				t.Errorf("%q: %s", p, e.Err)
			}
		}
		left := strings.Join(made.Left, "\n")
		for _, want := range []string{"chardev: needs root", "owners: needs root", "mode 0000: needs root", "capability: needs root"} {
			if !strings.Contains(left, want) {
				t.Errorf("%q is not in what was left:\n%s", want, left)
			}
		}
		for _, want := range []string{"special/fifo", "special/socket", "modes/4755", "xattrs/acl", "names/\xff"} {
			if tree.Entries[want] == nil {
				t.Errorf("no %q", want)
			}
		}
		if err := nasty.Remove(dir); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(dir); err == nil {
			t.Error("not removed")
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to become an ordinary user; the other tests ran as one")
	}
	// The test's own binary and folders are root's alone.
	dir, err := os.MkdirTemp("", "nasty")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	exe, err := os.OpenFile(dir+"/test", os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(exe, self); err != nil {
		t.Fatal(err)
	}
	if err := exe.Close(); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Chmod(dir, 0o755), os.Mkdir(dir+"/home", 0o755), os.Chown(dir+"/home", 65534, 65534)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(dir+"/test", "-test.run=^TestMakeAsOrdinaryUser$", "-test.v")
	cmd.Dir = dir + "/home"
	cmd.Env = append(os.Environ(), "NASTY_TEST_DIR="+dir+"/home/tree", "TMPDIR="+dir+"/home")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
		t.Errorf("%v\n%s", err, out)
	}
}
