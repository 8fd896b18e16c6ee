//go:build linux

package compare_test

import (
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/proc"
	"fuseless/magefiles/compare"
	"fuseless/magefiles/nasty"
)

// TestChain makes a nasty source, backs it up and takes it out again by every
// way there is, with the real programs, and holds each result against its table
// of permitted losses.
func TestChain(t *testing.T) {
	need(t, "gocryptfs", "rsync", "fusermount3")
	tmp := scratch(t)
	src, vault := filepath.Join(tmp, "src"), filepath.Join(tmp, "vault")
	made, err := nasty.Make(src, nasty.Options{Bulk: 8 << 20, Special: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range made.Left {
		t.Log("left out of the source:", l)
	}
	want, err := backUp(t, tmp, src, vault)
	if err != nil {
		t.Fatal(err)
	}

	judge := func(t *testing.T, got compare.Tree, tables ...string) {
		t.Helper()
		losses, err := compare.LoadLosses(tables...)
		if err != nil {
			t.Fatal(err)
		}
		if len(made.Left) > 0 { // a table holds in full only where the source has everything
			losses = losses.For(want)
		}
		v := losses.Judge(compare.Compare(want, got))
		if !v.OK() {
			t.Errorf("%s", v)
		} else {
			t.Logf("%s", v)
		}
	}

	view := filepath.Join(tmp, "view")
	t.Run("forward", func(t *testing.T) {
		mountForward(t, vault, view)
		judge(t, snapshot(t, view), "forward")
		t.Run("webdav", func(t *testing.T) {
			got, err := compare.WebDAV(t.Context(), serve(t, view), "user", "secret")
			if err != nil {
				t.Fatal(err)
			}
			judge(t, got, "webdav")
		})
		t.Run("davfs2", func(t *testing.T) {
			mnt := filepath.Join(tmp, "dav")
			mountDavfs(t, serve(t, view), mnt)
			judge(t, snapshot(t, mnt), "davfs2")
		})
	})
	t.Run("sshfs", func(t *testing.T) {
		remote := filepath.Join(tmp, "remote")
		mountSSHFS(t, vault, remote)
		mountForward(t, remote, view)
		judge(t, snapshot(t, view), "forward", "sshfs")
		t.Run("webdav", func(t *testing.T) {
			got, err := compare.WebDAV(t.Context(), serve(t, view), "user", "secret")
			if err != nil {
				t.Fatal(err)
			}
			judge(t, got, "webdav", "sshfs")
		})
		t.Run("davfs2", func(t *testing.T) {
			mnt := filepath.Join(tmp, "dav")
			mountDavfs(t, serve(t, view), mnt)
			judge(t, snapshot(t, mnt), "davfs2", "sshfs")
		})
	})
}

// What MakeFailing makes does fail, all of it, and nothing else does.
func TestFailing(t *testing.T) {
	need(t, "gocryptfs", "rsync", "fusermount3")
	tmp := scratch(t)
	src, vault, view := filepath.Join(tmp, "src"), filepath.Join(tmp, "vault"), filepath.Join(tmp, "view")
	made, err := nasty.MakeFailing(src)
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Left) > 0 {
		t.Skipf("this system cannot make it: %q", made.Left)
	}
	want, err := backUp(t, tmp, src, vault)
	if proc.ExitCode(err) != 23 {
		t.Errorf("rsync: %v, want status 23", err)
	}
	mountForward(t, vault, view)
	lost := map[string]bool{}
	for _, d := range compare.Compare(want, snapshot(t, view)) {
		what, _, _ := strings.Cut(d.Path, "/")
		lost[string(d.Attribute)+" "+what] = true
	}
	expected := []string{"missing target-4095", "missing deep", "mtime 2446", "missing .gocryptfs.reverse.conf"}
	if !root() {
		expected = append(expected, "missing unreadable")
	}
	for _, e := range expected {
		if !lost[e] {
			t.Errorf("not lost: %s", e)
		}
		delete(lost, e)
	}
	for l := range lost {
		// The folders above the one that failed, and the root, may have other times.
		if !strings.HasPrefix(l, "mtime") {
			t.Errorf("lost: %s", l)
		}
	}
}

// backUp makes a vault of src with gocryptfs and rsync, and returns what src was
// like then, and rsync's error.
func backUp(t *testing.T, tmp, src, vault string) (compare.Tree, error) {
	t.Helper()
	run(t, "gocryptfs", "-init", "-reverse", "-q", "-scryptn", "10", "-passfile", "/dev/fd/3", src)
	reverse := filepath.Join(tmp, "reverse")
	unmount := mount(t, reverse, nil, nil, "gocryptfs", "-reverse", "-fg", "-q", "-passfile", "/dev/fd/3", src, reverse)
	defer unmount()
	want := snapshot(t, src)
	// Without the window rsync takes two times within one second for the same,
	// and leaves the root of a new vault with the time at which it made it.
	return want, proc.Run(t.Context(), proc.Cmd{Argv: []string{"rsync", "-a", "-H", "--no-specials", "--no-devices",
		"--numeric-ids", "--modify-window=-1", reverse + "/", vault + "/"}})
}
