//go:build linux

package ops

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fuseless/guest/mounts"
	"fuseless/guest/proto"
)

// TestMountOfSilentRemote: a remote that lets ssh connect, and then says nothing,
// ends in an error, and leaves no mount.
func TestMountOfSilentRemote(t *testing.T) {
	if _, err := exec.LookPath("sshfs"); err != nil {
		t.Skip("sshfs is not installed")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("there is no /dev/fuse")
	}
	defer func(d time.Duration) { firstAnswer = d }(firstAnswer)
	firstAnswer = 500 * time.Millisecond
	dir := t.TempDir()
	dial, mp := filepath.Join(dir, "dial"), filepath.Join(dir, "remote")
	if err := os.WriteFile(dial, []byte("#!/bin/sh\nexec sleep 600\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := &run{Request: &proto.Request{}, dir: dir, state: dir, dial: dial, emit: proto.NewEmitter(io.Discard)}
	begun := time.Now()
	err := r.mountRemote(context.Background(), mp, false)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if proto.CodeOf(err) != proto.Remote || !strings.Contains(err.Error(), "nothing came within") || !strings.Contains(err.Error(), "hint: ") {
		t.Error(err)
	}
	if m, err := mounts.Find(mp); err != nil || m != nil {
		t.Errorf("left: %v (%v)", m, err)
	}
}
