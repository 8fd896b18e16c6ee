package hostmount

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"
)

// writable mounts s for writing, until the test ends.
func writable(t *testing.T, s *server) Spec {
	t.Helper()
	spec := s.spec(t)
	spec.ReadOnly = false
	t.Cleanup(func() {
		spec.Force = true
		_, _ = Unmount(context.Background(), spec)
		if dir, err := cacheDir(spec); err == nil {
			kept, _ := filepath.Glob(dir + "-kept-*")
			for _, k := range kept {
				os.RemoveAll(k)
			}
		}
	})
	if w, err := Mount(t.Context(), spec); err != nil || w != "" {
		t.Fatalf("mounting: %v, warning %q", err, w)
	}
	return spec
}

func content(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// copyInto is cp and sync, as a person does it: both say that all is well.
func copyInto(t *testing.T, to string, b []byte) {
	t.Helper()
	from := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(from, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"cp", from, to}, {"sync", "-f", filepath.Dir(to)}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
	}
}

// wantLost fails unless err tells of exactly these lost files, by the names
// below the mountpoint, and they are whole where it says they lie. It gives the
// folder with them.
func wantLost(t *testing.T, spec Spec, err error, want map[string][]byte) string {
	t.Helper()
	if proto.CodeOf(err) != proto.Incomplete {
		t.Fatalf("error %v, want code %v", err, proto.Incomplete)
	}
	return wantNamed(t, spec, err.Error(), want)
}

func wantNamed(t *testing.T, spec Spec, message string, want map[string][]byte) string {
	t.Helper()
	t.Log(message)
	spec.ReadOnly = false
	cache, err := cacheDir(spec)
	if err != nil {
		t.Fatal(err)
	}
	kept, _ := filepath.Glob(cache + "-kept-*")
	if len(kept) != 1 {
		t.Fatalf("kept: %q", kept)
	}
	if fi, err := os.Stat(kept[0]); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the kept folder: %v, %v", fi, err)
	}
	for name, b := range want {
		file := filepath.Join(kept[0], lostFoundDir, name)
		if !strings.Contains(message, file+"\n") {
			t.Errorf("%s is not named", file)
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes, want %d: %v", file, len(got), len(b), err)
		}
	}
	if n := strings.Count(message, kept[0]+"/"); n != len(want) {
		t.Errorf("%d files are named, want %d", n, len(want))
	}
	if !strings.Contains(message, "copy them before the machine restarts") {
		t.Error("it does not say what to do")
	}
	if _, mounted, _ := Mounted(spec.Mountpoint); !mounted {
		if _, err := os.Lstat(cache); err == nil {
			t.Error("the cache is left besides")
		}
	}
	return kept[0]
}

func wantOnServer(t *testing.T, s *server, name string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(s.root, name)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s on the server: %d bytes, want %d: %v", name, len(got), len(want), err)
	}
}

func TestWriteThenUnmount(t *testing.T) {
	needDavfs(t)
	s := ownServer(t, t.TempDir(), false)
	if err := os.WriteFile(filepath.Join(s.root, "read"), []byte("read only"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := writable(t, s)
	if _, err := os.ReadFile(filepath.Join(spec.Mountpoint, "read")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(spec.Mountpoint, "docs"), 0o700); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"big": content(32 << 20), "docs/grüße.txt": []byte("a year's work"), "docs/empty": nil}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(spec.Mountpoint, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if w, err := Unmount(t.Context(), spec); err != nil || w != "" {
		t.Fatalf("unmounting: %v, warning %q", err, w)
	}
	for name, b := range files {
		wantOnServer(t, s, name, b)
	}
	wantNothingLeft(t, spec)
}

// TestServerDiskFull has a server on a full disk, and then the person who
// rescues what did not fit.
func TestServerDiskFull(t *testing.T) {
	needDavfs(t)
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(root, 0) })
	s := ownServer(t, root, false)
	spec := writable(t, s)
	old, big := []byte("old"), content(3<<20)
	copyInto(t, filepath.Join(spec.Mountpoint, "fits"), old)
	copyInto(t, filepath.Join(spec.Mountpoint, "the film"), old)
	if err := os.Mkdir(filepath.Join(spec.Mountpoint, "docs"), 0o700); err != nil {
		t.Fatal(err)
	}
	copyInto(t, filepath.Join(spec.Mountpoint, "the film"), big)
	copyInto(t, filepath.Join(spec.Mountpoint, "docs", "grüße"), big[1:])

	_, err := Unmount(t.Context(), spec)
	lost := map[string][]byte{"the film": big, "grüße": big[1:]} // davfs2 forgets the folder
	kept := wantLost(t, spec, err, lost)
	wantOnServer(t, s, "fits", old)
	wantOnServer(t, s, "the film", old)
	if _, ok, _ := Mounted(spec.Mountpoint); ok {
		t.Error("it is still mounted")
	}

	// Nothing that follows removes them; and each says that they are there.
	for _, readOnly := range []bool{true, false} {
		spec.ReadOnly = readOnly
		w, err := Mount(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		wantNamed(t, spec, w, lost)
		if w, err = Unmount(t.Context(), spec); err != nil {
			t.Errorf("unmounting: %v", err)
		}
		wantNamed(t, spec, w, lost)
	}
	if err := os.RemoveAll(filepath.Join(kept, lostFoundDir)); err != nil { // rescued
		t.Fatal(err)
	}
	if w, err := Mount(t.Context(), spec); err != nil || w != "" {
		t.Errorf("mounting after the rescue: %v, warning %q", err, w)
	}
	if w, err := Unmount(t.Context(), spec); err != nil || w != "" {
		t.Errorf("unmounting after the rescue: %v, warning %q", err, w)
	}
	wantNothingLeft(t, spec)
}

// TestServerDiesBeforeUpload has a file that is written and not yet closed when
// the server goes.
func TestServerDiesBeforeUpload(t *testing.T) {
	needDavfs(t)
	s := ownServer(t, t.TempDir(), false)
	spec := writable(t, s)
	b := content(1 << 20)
	f := written(t, spec, "docs", b)
	s.CloseClientConnections()
	s.Close()
	f.Close()
	_, err := Unmount(t.Context(), spec)
	wantLost(t, spec, err, map[string][]byte{"docs/essay.txt": b})
	if _, err := os.Lstat(spec.Mountpoint); err == nil {
		t.Error("the mountpoint that Mount made is left")
	}
}

// written is a file in the folder dir of spec's mount, written and not closed.
func written(t *testing.T, spec Spec, dir string, b []byte) *os.File {
	t.Helper()
	dir = filepath.Join(spec.Mountpoint, dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "essay.txt"))
	if err == nil {
		_, err = f.Write(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestKilledWithUnsentFiles kills davfs2 with a file that it has not uploaded,
// and looks whether whoever comes next finds it: even if that is a read-only
// mount, or nothing is known of the one before.
func TestKilledWithUnsentFiles(t *testing.T) {
	needDavfs(t)
	for name, next := range map[string]func(*testing.T, Spec) string{
		"unmount": func(t *testing.T, spec Spec) string {
			_, err := Unmount(t.Context(), spec)
			if proto.CodeOf(err) != proto.Incomplete {
				t.Fatalf("error %v", err)
			}
			return err.Error()
		},
		"mount": func(t *testing.T, spec Spec) string {
			w, err := Mount(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			return w
		},
		"read-only mount, nothing known": func(t *testing.T, spec Spec) string {
			if err := privilege.Run(t.Context(), proc.Cmd{Argv: []string{"umount", "-i", "-l", spec.Mountpoint}}); err != nil {
				t.Fatal(err)
			}
			if err := removeRecord(spec); err != nil {
				t.Fatal(err)
			}
			spec.ReadOnly = true
			w, err := Mount(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := ownServer(t, t.TempDir(), false)
			spec := writable(t, s)
			b := content(1 << 20)
			f := written(t, spec, "docs", b)
			for _, pid := range daemons(spec.Mountpoint) {
				if err := privilege.Run(t.Context(), proc.Cmd{Argv: []string{"kill", "-KILL", strconv.Itoa(pid)}}); err != nil {
					t.Fatal(err)
				}
			}
			f.Close()
			message := next(t, spec)
			wantNamed(t, spec, message, map[string][]byte{"essay.txt": b})
			if !strings.Contains(message, "may not have reached") {
				t.Error("it is sure of what it cannot know")
			}
		})
	}
}

// TestSortKept has two lost files of one name, one that the index does not
// know, one that is on the server; and a run that was killed at it.
func TestSortKept(t *testing.T) {
	const index = `<d:root xmlns:d="http://dav.sf.net/"><d:backup>` +
		`<d:reg><d:name>a-AAAAAA</d:name><d:cache_path>/c/a-AAAAAA</d:cache_path></d:reg>` +
		`<d:reg><d:name>a-BBBBBB</d:name><d:cache_path>/c/a-BBBBBB</d:cache_path></d:reg></d:backup>` +
		`<d:reg><d:name>index</d:name><d:cache_path>/c/index-AAAAAA</d:cache_path></d:reg></d:root>`
	dir := t.TempDir()
	put := func(name, content string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("host+user/index", index)
	put("host+user/a-BBBBBB", "second")
	put("host+user/orphan-CCCCCC", "third")
	put("host+user/index-AAAAAA", "on the server")
	put("lost+found/a", "first, moved already")
	if err := sortKept(dir, "host+user"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "first, moved already", "a-BBBBBB": "second", "orphan": "third"} {
		if b, err := os.ReadFile(filepath.Join(dir, lostFoundDir, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	all, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(all) != 3 {
		t.Errorf("%q, %v", all, err)
	}
}
