//go:build linux

package ops

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

// In a VM a source that is not mounted is an empty folder, and must not pass for
// one that was emptied.
func TestUnmountedSource(t *testing.T) {
	mem, err := os.MkdirTemp("/dev/shm", "fl-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(mem)
	t.Setenv("XDG_RUNTIME_DIR", mem)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	var out bytes.Buffer
	req := &proto.Request{Op: proto.OpBackup, Instance: "00000000", Vault: "v", Source: t.TempDir(), Mounted: true}
	err = Run(context.Background(), req, proto.NewEmitter(&out))
	if proto.CodeOf(err) != proto.Source || !strings.Contains(err.Error(), "is not mounted in the VM") || !strings.Contains(err.Error(), "fuseless up") {
		t.Errorf("%v", err)
	}
	r := &run{Request: req, dir: mem}
	if _, err := r.image(context.Background(), mem, "image"); proto.CodeOf(err) != proto.Source {
		t.Errorf("the second look: %v", err)
	}
	req.Source = "/proc" // a mount, if there is one anywhere
	if err := r.checkMounted(); err != nil {
		t.Errorf("a mount: %v", err)
	}
	if r.wholeSeconds() {
		t.Error("/proc is taken for sshfs")
	}
}

// A restore in a VM must not write into the VM's own disk.
func TestUnmountedRestoreFolder(t *testing.T) {
	dir := t.TempDir()
	r := &run{Request: &proto.Request{Restore: proto.RestoreOptions{To: dir + "/x", Mount: dir}}}
	if err := r.checkRestoreMount(); proto.CodeOf(err) != proto.Guest || !strings.Contains(err.Error(), "is not mounted in the VM") {
		t.Errorf("not mounted: %v", err)
	}
	for to, want := range map[string]proto.Code{"/proc/new/folder": proto.OK, "/proc": proto.OK, "/proc/self/root/etc": proto.Config, "/proc/self/root/new": proto.Config} {
		r.Restore.To, r.Restore.Mount = to, "/proc"
		if err := r.checkRestoreMount(); proto.CodeOf(err) != want {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestLinkTimes(t *testing.T) {
	dir := t.TempDir()
	if !keepsLinkTimes(dir) {
		t.Errorf("%s is said not to keep the times of links", dir)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("left: %v", entries)
	}
}
