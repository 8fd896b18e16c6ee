package hostmount

import (
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

// A davfs2 that hangs after it was unmounted, as where the machine is short of everything,
// is ended if it has nothing to save.
func TestReadOnlyDaemonDoesNotEnd(t *testing.T) {
	needDavfs(t)
	setPatience(t, &daemonDeadline, time.Second)
	s := newServer(t)
	spec := s.spec(t)
	mountForTest(t, spec)
	for _, argv := range [][]string{
		{"kill", "-STOP", strconv.Itoa(daemons(spec.Mountpoint)[0])},
		{"umount", "-i", "-l", "--", spec.Mountpoint},
	} {
		if err := privilege.Run(t.Context(), proc.Cmd{Argv: argv}); err != nil {
			t.Fatal(err)
		}
	}
	if w, err := Unmount(t.Context(), spec); err != nil || w != "" {
		t.Fatalf("%v, warning %q", err, w)
	}
	wantNothingLeft(t, spec)
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
