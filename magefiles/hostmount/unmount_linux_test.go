package hostmount

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"
)

func TestBusyThenForce(t *testing.T) {
	needDavfs(t)
	s := newServer(t)
	spec := s.spec(t)
	mountForTest(t, spec)
	f, err := os.Open(filepath.Join(spec.Mountpoint, "grüße.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = Unmount(t.Context(), spec)
	if proto.CodeOf(err) != proto.Busy || !strings.Contains(err.Error(), "pid ") {
		t.Errorf("open file: error %v", err)
	}
	spec.Force = true
	if w, err := Unmount(t.Context(), spec); err != nil || w != "" {
		t.Fatalf("by force: %v, warning %q", err, w)
	}
	wantNothingLeft(t, spec)
}

func TestDeadServerDoesNotHangForce(t *testing.T) {
	needDavfs(t)
	s := newServer(t)
	spec := s.spec(t)
	mountForTest(t, spec)
	s.hold()
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = os.ReadFile(filepath.Join(spec.Mountpoint, "grüße.txt"))
	}()
	<-s.held
	spec.Force = true
	start := time.Now()
	if _, err := Unmount(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 40*time.Second {
		t.Errorf("took %v", d)
	}
	wantNothingLeft(t, spec)
	<-read // the blocked reader is released, too
}

// TestNewSessionReplacesStaleMount is a server that was started anew on the
// same port with a new password, while the old mount was still there.
func TestNewSessionReplacesStaleMount(t *testing.T) {
	needDavfs(t)
	s := newServer(t)
	spec := s.spec(t)
	mountForTest(t, spec)
	before := daemons(spec.Mountpoint)
	stale := spec
	stale.Password = []byte("of the last session")
	if err := saveRecord(stale, true); err != nil {
		t.Fatal(err)
	}
	if _, err := Mount(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if after := daemons(spec.Mountpoint); len(after) != 1 || slices.Equal(before, after) {
		t.Errorf("the stale mount was kept: daemons %v, then %v", before, after)
	}
}

func TestKilledDaemonIsRepaired(t *testing.T) {
	needDavfs(t)
	s := newServer(t)
	spec := s.spec(t)
	mountForTest(t, spec)
	for _, pid := range daemons(spec.Mountpoint) {
		if err := privilege.Run(t.Context(), proc.Cmd{Argv: []string{"kill", "-KILL", strconv.Itoa(pid)}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Mount(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(filepath.Join(spec.Mountpoint, "grüße.txt")); err != nil {
		t.Error(err)
	}
}

// TestLostWritesAreKept writes into a server that refuses: davfs2 lets cp, sync
// and umount succeed, and puts the file aside.
func TestLostWritesAreKept(t *testing.T) {
	needDavfs(t)
	s := newServer(t)
	spec := s.spec(t)
	spec.ReadOnly = false
	mountForTest(t, spec)
	s.full.Store(true)
	_ = os.WriteFile(filepath.Join(spec.Mountpoint, "essay.txt"), []byte("a year's work"), 0o600)
	warning, err := Unmount(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := cacheDir(spec.Mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	kept, _ := filepath.Glob(dir + "-kept-*")
	if len(kept) != 1 || !strings.Contains(warning, kept[0]) {
		t.Fatalf("kept %q, warning %q", kept, warning)
	}
	t.Cleanup(func() {
		_ = privilege.Run(context.Background(), proc.Cmd{Argv: []string{"rm", "-rf", "--", kept[0]}})
	})
	found, err := privilege.Output(t.Context(), proc.Cmd{Argv: []string{"grep", "-rl", "a year's work", kept[0]}})
	if err != nil || len(found) == 0 {
		t.Errorf("the file is not in %s: %v", kept[0], err)
	}
}

// TestUploadedWritesAreNotKept is the other side of TestLostWritesAreKept: a
// warning that always comes is not read.
func TestUploadedWritesAreNotKept(t *testing.T) {
	needDavfs(t)
	s := newServer(t)
	spec := s.spec(t)
	spec.ReadOnly = false
	mountForTest(t, spec)
	if _, err := os.ReadFile(filepath.Join(spec.Mountpoint, "grüße.txt")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(spec.Mountpoint, "essay.txt"), []byte("a year's work"), 0o600); err != nil {
		t.Fatal(err)
	}
	if w, err := Unmount(t.Context(), spec); err != nil || w != "" {
		t.Fatalf("unmounting: %v, warning %q", err, w)
	}
	if b, _ := os.ReadFile(filepath.Join(s.root, "essay.txt")); string(b) != "a year's work" {
		t.Errorf("on the server: %q", b)
	}
	wantNothingLeft(t, spec)
}
