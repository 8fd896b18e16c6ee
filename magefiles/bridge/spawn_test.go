package bridge

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/guest/remote"
)

// spawn starts a daemon and makes sure that none outlives the test.
func (r *rig) spawn() int {
	r.t.Helper()
	self, err := os.Executable()
	must(r.t, err)
	r.t.Cleanup(func() { _ = Stop(context.Background(), r.socket) })
	pid, err := Spawn(r.t.Context(), self, r.remote, r.socket, filepath.Join(r.dir, "log"), nil)
	must(r.t, err)
	return pid
}

// left are the files in the socket's folder.
func (r *rig) left() []string {
	entries, err := os.ReadDir(filepath.Dir(r.socket))
	must(r.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestDaemonServesAndStops(t *testing.T) {
	r := newRig(t)
	pid := r.spawn()
	if got, ok := Running(r.socket); !ok || got != pid {
		t.Fatalf("Running: %d %v, want %d", got, ok, pid)
	}
	if again := r.spawn(); again != pid {
		t.Error("a second Spawn started another daemon")
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d of the daemon is not its own: %v", sid, err)
	}
	_, closer, err := remote.SFTP(t.Context(), r.socket, nil)
	must(t, err)
	defer closer.Close()
	must(t, Stop(t.Context(), r.socket))
	must(t, Stop(t.Context(), r.socket))
	if n := processes(t, r.server.SSHConfig); len(n) > 0 {
		t.Error("ssh outlives the daemon")
	}
	if _, ok := Running(r.socket); ok {
		t.Error("Running after Stop")
	}
	if l := r.left(); len(l) > 0 {
		t.Error("left behind: ", l)
	}
}

func TestDaemonForAnotherRemoteReplaces(t *testing.T) {
	r := newRig(t)
	pid := r.spawn()
	r.remote.Path = "other"
	if r.spawn() == pid {
		t.Error("the daemon still serves the old remote")
	}
}

func TestSSHFSReconnectsThroughDaemon(t *testing.T) {
	r := newRig(t)
	r.spawn()
	r.sshfsReconnects()
}

// What a killed daemon leaves must neither count as running nor be in the way.
func TestStopAndSpawnAfterKill(t *testing.T) {
	r := newRig(t)
	kill := func(pid int) {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
		eventually(t, "it ends", func() bool { _, ok := Running(r.socket); return !ok })
	}
	pid := r.spawn()
	_, closer, err := remote.SFTP(t.Context(), r.socket, nil)
	must(t, err)
	defer closer.Close()
	kill(pid)
	eventually(t, "its ssh ends", func() bool { return len(processes(t, r.server.SSHConfig)) == 0 })
	if len(r.left()) == 0 {
		t.Fatal("nothing is left to be cleaned")
	}
	must(t, Stop(t.Context(), r.socket))
	if l := r.left(); len(l) > 0 {
		t.Error("left behind: ", l)
	}
	kill(r.spawn())
	r.spawn()
}

// A pid that now belongs to another process is not the daemon's, and lives on.
func TestRecycledPid(t *testing.T) {
	r := newRig(t)
	other := exec.Command("sleep", "60")
	must(t, other.Start())
	b, err := json.Marshal(state{PID: other.Process.Pid, Start: 1})
	must(t, err)
	must(t, os.WriteFile(StatePath(r.socket), b, 0o600))
	if _, ok := Running(r.socket); ok {
		t.Error("Running")
	}
	must(t, Stop(t.Context(), r.socket))
	if _, err := proc.StartTime(other.Process.Pid); err != nil {
		t.Error("Stop ended another process")
	}
	_ = other.Process.Kill()
	_ = other.Wait()
}

func TestDaemonEndsWithItsFolder(t *testing.T) {
	r := newRig(t)
	r.spawn()
	s, _ := readState(r.socket)
	must(t, os.RemoveAll(filepath.Dir(r.socket)))
	eventually(t, "it ends", func() bool { return !s.alive() })
}

func TestSpawnTellsWhy(t *testing.T) {
	r := newRig(t)
	self, err := os.Executable()
	must(t, err)
	l, err := Listen(r.socket)
	must(t, err)
	defer l.Close()
	if _, err := Spawn(t.Context(), self, r.remote, r.socket, filepath.Join(r.dir, "log"), nil); proto.CodeOf(err) != proto.Busy {
		t.Errorf("beside another listener: %v", err)
	}
	must(t, os.Chmod(filepath.Dir(r.socket), 0o755))
	if _, err := Spawn(t.Context(), self, r.remote, filepath.Join(r.dir, "run", "t"), filepath.Join(r.dir, "log"), nil); err == nil || !strings.Contains(err.Error(), "0755") {
		t.Errorf("in an open folder: %v", err)
	}
}

func TestListen(t *testing.T) {
	dir, err := os.MkdirTemp("", "br")
	must(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")

	l, err := Listen(path)
	must(t, err)
	fi, err := os.Lstat(path)
	must(t, err)
	if fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
	go func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}(l)
	if _, err := Listen(path); proto.CodeOf(err) != proto.Busy {
		t.Errorf("a live socket was taken over: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	l, err = Listen(path)
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	l.Close()

	must(t, os.WriteFile(path, []byte("precious"), 0o600))
	if _, err := Listen(path); err == nil {
		t.Error("a file was replaced")
	}
	link := dir + ".link"
	must(t, os.Symlink(dir, link))
	defer os.Remove(link)
	if _, err := Listen(filepath.Join(link, "t")); err == nil {
		t.Error("a symlink was followed")
	}
	if _, err := Listen(filepath.Join(dir, strings.Repeat("x", 100))); proto.CodeOf(err) != proto.Config {
		t.Errorf("long path: %v", err)
	}
	must(t, os.Chmod(dir, 0o750))
	if _, err := Listen(filepath.Join(dir, "t")); err == nil {
		t.Error("a folder open to a group was taken")
	}
}
