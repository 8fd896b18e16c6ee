package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"fuseless/guest/remote"
)

// mountSSHFS mounts r's vault on the returned folder through socket.
func (r *rig) mountSSHFS() string {
	t := r.t
	t.Helper()
	if _, err := exec.LookPath("sshfs"); err != nil {
		t.Skip("sshfs is not installed")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no /dev/fuse")
	}
	dir := filepath.Join(r.dir, "mnt")
	must(t, os.Mkdir(dir, 0o700))
	t.Setenv(remote.SocketVariable, r.socket)
	// -f keeps it in the foreground, so that it is a child and can be awaited.
	cmd := exec.Command("sshfs", "-f", "-o", "ssh_command="+r.dial+",reconnect,ServerAliveInterval=15,ServerAliveCountMax=3,ro,dir_cache=no", "host:vault", dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		if mounted(t, dir) {
			// Another process may keep it busy for a moment.
			err, said := errors.New("not tried"), []byte(nil)
			for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				said, err = exec.Command("fusermount3", "-u", dir).CombinedOutput()
			}
			if err != nil {
				t.Errorf("unmount: %s", said)
				_ = exec.Command("fusermount3", "-uz", dir).Run()
			}
		}
		<-ended
		if t.Failed() {
			t.Logf("sshfs: %s\nbridge: %s", out.String(), r.log)
		}
	})
	eventually(t, "mounted", func() bool {
		select {
		case <-ended:
			t.Fatal("sshfs ended: ", out.String())
		default:
		}
		return mounted(t, dir)
	})
	return dir
}

func mounted(t *testing.T, dir string) bool {
	b, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	return bytes.Contains(b, []byte(" "+dir+" "))
}

// sshfs must read on after the connection to the remote broke.
func TestSSHFSReconnects(t *testing.T) {
	r := newRig(t)
	r.listen()
	r.sshfsReconnects()
}

func (r *rig) sshfsReconnects() {
	t := r.t
	t.Helper()
	data := noise(2 << 20)
	for i := range 3 {
		must(t, os.WriteFile(filepath.Join(r.vault, fmt.Sprint(i)), data, 0o644))
	}
	dir := r.mountSSHFS()
	read := func(name string) {
		t.Helper()
		// The first access after a break may fail with EIO; what counts is
		// that it comes back without a new mount.
		eventually(t, "read "+name, func() bool {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return false
			}
			if !bytes.Equal(got, data) {
				t.Fatal("other bytes")
			}
			return true
		})
	}
	read("0")
	r.server.Drop()
	read("1")
	r.server.Drop()
	read("2")
	if n := r.server.Counters().Sessions; n < 3 {
		t.Errorf("%d sessions, want one for each reconnection", n)
	}
}
