package bridge

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/sftp"

	"fuseless/guest/remote"
)

// shared is a rig with a bridge whose sessions share a connection.
func shared(t *testing.T) *rig {
	r := newRig(t)
	r.remote.Mux = filepath.Join(r.dir, "run", "mux")
	must(t, os.WriteFile(filepath.Join(r.vault, "f"), noise(3<<20), 0o600))
	return r
}

// sftp begins an sftp session, and fails if that does not work.
func (r *rig) sftp() (*sftp.Client, io.Closer) {
	r.t.Helper()
	c, closer, err := remote.SFTP(r.t.Context(), r.socket, nil)
	must(r.t, err)
	_, err = c.Stat("vault/f")
	must(r.t, err)
	return c, closer
}

// fetch gets the vault by rsync, and compares. Nothing may be said on standard
// error: a backup would show it as a fault.
func (r *rig) fetch() {
	r.t.Helper()
	out := filepath.Join(r.dir, "out")
	must(r.t, os.RemoveAll(out))
	if _, stderr, err := r.rsync("-a", "host:", out); err != nil || stderr != "" {
		r.t.Fatal(err, stderr)
	}
	got, err := os.ReadFile(filepath.Join(out, "f"))
	must(r.t, err)
	if !slices.Equal(got, noise(3<<20)) {
		r.t.Error("other bytes came")
	}
}

func (r *rig) connections(want int) {
	r.t.Helper()
	if n := r.server.Counters().Connections; n != want {
		r.t.Errorf("%d connections were made, want %d", n, want)
	}
}

// While a run holds an sftp session, its other sessions need no login.
func TestSharedConnection(t *testing.T) {
	r := shared(t)
	stop := r.listen()
	_, held := r.sftp()
	r.fetch()
	_, second := r.sftp()
	must(t, second.Close())
	r.fetch()
	r.connections(1)
	must(t, held.Close())
	eventually(t, "ssh ends with the session that was held", func() bool { return len(processes(t, r.server.SSHConfig)) == 0 })
	r.fetch()
	r.connections(2)
	stop()
	if left, _ := filepath.Glob(r.remote.Mux + "*"); len(left) > 0 {
		t.Error("left: ", left)
	}
}

// Nothing depends on the shared connection: after it broke, and after its ssh
// was killed, sessions log in by themselves.
func TestSharedConnectionLost(t *testing.T) {
	for name, lose := range map[string]func(r *rig){
		"dropped": func(r *rig) { r.server.Drop() },
		"killed": func(r *rig) {
			for _, pid := range processes(r.t, "ControlMaster=auto") {
				must(r.t, syscall.Kill(pid, syscall.SIGKILL)) // its socket stays
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := shared(t)
			stop := r.listen()
			c, held := r.sftp()
			defer held.Close()
			lose(r)
			if _, err := c.Stat("vault/f"); err == nil {
				t.Error("the session that was held still works")
			}
			must(t, held.Close())
			r.fetch()
			_, again := r.sftp()
			r.fetch()
			must(t, again.Close())
			r.connections(3)
			stop()
			if left, _ := filepath.Glob(r.remote.Mux + "*"); len(left) > 0 {
				t.Error("left: ", left)
			}
		})
	}
}

// A connection that the user has opened is used, and none of ours.
func TestSharedConnectionOfTheUser(t *testing.T) {
	r := shared(t)
	own := filepath.Join(r.dir, "run", "own")
	config := filepath.Join(r.dir, "config")
	b, err := os.ReadFile(r.server.SSHConfig)
	must(t, err)
	must(t, os.WriteFile(config, append([]byte("ControlPath "+own+"\nControlPersist yes\n"), b...), 0o600))
	r.remote.SSHConfig = config
	ctx, cancel := context.WithCancel(t.Context())
	master := exec.CommandContext(ctx, "ssh", "-F", config, "-M", "-N", "-o", "ControlPersist=no", r.remote.Target)
	must(t, master.Start())
	eventually(t, "the user's connection", func() bool { _, err := os.Stat(own); return err == nil })
	stop := r.listen()
	_, held := r.sftp()
	if _, err := os.Stat(r.remote.Mux); err == nil {
		t.Error("there is a connection of ours")
	}
	r.fetch()
	must(t, held.Close())
	r.connections(1)
	stop()
	cancel()
	_ = master.Wait()

	// Without it, ours; and the user's ControlPersist does not make that stay.
	stop = r.listen()
	_, held = r.sftp()
	r.fetch()
	must(t, held.Close())
	r.connections(2)
	eventually(t, "ssh ends", func() bool { return len(processes(t, config)) == 0 })
	stop()
}

// A server may allow one session in a connection only.
func TestSharedConnectionRefused(t *testing.T) {
	r := newRig(t)
	r.remote.Mux = filepath.Join(r.dir, "run", "mux")
	must(t, os.WriteFile(filepath.Join(r.vault, "f"), noise(3<<20), 0o600))
	r.sshd("MaxSessions 1")
	r.listen()
	_, held := r.sftp()
	r.fetch()
	must(t, held.Close())
}

// A path that ssh would not take as it is, or that does not fit, is none.
func TestMuxPath(t *testing.T) {
	r := newRig(t)
	for path, want := range map[string]bool{
		"/run/user/1000/fuseless/0123abcd/photos/bridge-4194304.mux": true,
		"/run/%h/mux":                     false,
		"/run/a b/mux":                    false,
		"/run/${HOME}/mux":                false,
		"/run/" + strings.Repeat("x", 90): false,
	} {
		r.remote.Mux = path
		if got := r.remote.sharing(t.Context()).Mux == path; got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}
