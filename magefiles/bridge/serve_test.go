package bridge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/proto"
	"fuseless/guest/remote"
	"fuseless/magefiles/throwaway"
)

// noise is n bytes that do not compress, the same every time.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestRsyncBothWays(t *testing.T) {
	r := newRig(t)
	r.remote.Path, r.remote.Trash = "my 'vault'; x", "../my 'trash' of x"
	r.listen()
	src, out := filepath.Join(r.dir, "src"), filepath.Join(r.dir, "out")
	must(t, os.MkdirAll(filepath.Join(src, "a"), 0o755))
	data := noise(8 << 20)
	must(t, os.WriteFile(filepath.Join(src, "a", "big"), data, 0o640))
	must(t, os.WriteFile(filepath.Join(src, "gone"), []byte("x"), 0o640))

	backup := []string{"-aH", "--no-specials", "--no-devices", "--numeric-ids", "--modify-window=-1", "--itemize-changes", "--stats",
		"--info=progress2", "--partial-dir=.fuseless-partial", "--timeout=300", "--outbuf=L", src + "/"}
	if _, stderr, err := r.rsync(append(backup, "host:whatever/the/guest/says")...); err != nil {
		t.Fatal(err, stderr)
	}
	got, err := os.ReadFile(filepath.Join(r.root, r.remote.Path, "a", "big"))
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Fatal("the remote has other bytes")
	}

	// What is deleted goes to the trash, a path with every quote in it.
	must(t, os.Remove(filepath.Join(src, "gone")))
	stamp := "20261123T154500Z"
	if _, stderr, err := r.rsync(append(backup, "--delete", "--max-delete=5", "--backup", "--backup-dir="+r.remote.Trash+"/"+stamp, "host:")...); err != nil {
		t.Fatal(err, stderr)
	}
	trash := filepath.Join(r.root, "my 'trash' of x", stamp)
	if _, err := os.Stat(filepath.Join(trash, "gone")); err != nil {
		t.Fatal("not in the trash: ", err)
	}

	// Back, and the trash by its name.
	must(t, os.Mkdir(out, 0o755))
	if _, stderr, err := r.rsync("-aH", "--ignore-existing", "--numeric-ids", "host:", out+"/vault"); err != nil {
		t.Fatal(err, stderr)
	}
	if got, _ := os.ReadFile(filepath.Join(out, "vault", "a", "big")); !bytes.Equal(got, data) {
		t.Error("other bytes came back")
	}
	if _, stderr, err := r.rsync("-aH", "--numeric-ids", "host:"+remote.TrashPath+"/"+stamp+"/", out+"/trash"); err != nil {
		t.Fatal(err, stderr)
	}
	if _, err := os.Stat(filepath.Join(out, "trash", "gone")); err != nil {
		t.Error("the trash did not come back: ", err)
	}
	// An empty folder onto the trash empties the trash, and never the vault.
	empty := filepath.Join(r.dir, "empty")
	must(t, os.Mkdir(empty, 0o755))
	if _, stderr, err := r.rsync("-r", "--delete", empty+"/", "host:"+remote.TrashPath); err != nil {
		t.Fatal(err, stderr)
	}
	if _, err := os.Stat(trash); err == nil {
		t.Error("the trash is not empty")
	}
	if _, err := os.Stat(filepath.Join(r.root, r.remote.Path, "a", "big")); err != nil {
		t.Error("the vault was hit: ", err)
	}
	if _, _, err := r.rsync("-r", "--delete", empty+"/", "host:@trash/../../x"); err == nil {
		t.Error("a path beside the trash was taken")
	}
	if c := r.server.Counters(); len(c.Refused) > 0 {
		t.Error("the remote refused: ", c.Refused)
	}
}

// rsync's own status must arrive: 23 means that some files failed.
func TestExitStatus(t *testing.T) {
	r := newRig(t)
	r.listen()
	_, stderr, err := r.rsync("-a", "--files-from=-", "host:", filepath.Join(r.dir, "out"))
	if err != nil {
		t.Fatal(err, stderr)
	}
	conn, err := remote.Dial(t.Context(), r.socket, remote.Request{Service: "rsync",
		Args: []string{"--server", "--sender", "-lHogtpre.iLsfxCIvu", ".", "x/"}}, nil)
	must(t, err)
	defer conn.Close()
	must(t, conn.CloseWrite()) // rsync meets EOF in its handshake
	if code, err := conn.Wait(); code != 12 || err != nil {
		t.Errorf("status %d, %v; want rsync's 12 and no error", code, err)
	}
}

func TestSFTP(t *testing.T) {
	r := newRig(t)
	stop := r.listen()
	data := noise(3<<20 + 7)
	must(t, os.WriteFile(filepath.Join(r.vault, "f"), data, 0o600))
	client, closer, err := remote.SFTP(t.Context(), r.socket, nil)
	must(t, err)
	defer closer.Close()
	f, err := client.Open("vault/f")
	must(t, err)
	got, err := io.ReadAll(f)
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Error("other bytes through sftp")
	}
	must(t, closer.Close())
	eventually(t, "ssh ends with the client", func() bool { return len(processes(t, r.server.SSHConfig)) == 0 })

	// The end of the bridge ends a session that is open, and its ssh.
	client, closer, err = remote.SFTP(t.Context(), r.socket, nil)
	must(t, err)
	defer closer.Close()
	stop()
	if n := len(processes(t, r.server.SSHConfig)); n != 0 {
		t.Errorf("%d ssh outlive the bridge", n)
	}
	if _, err := client.Stat("vault"); err == nil {
		t.Error("the session outlives the bridge")
	}
	if _, err := os.Lstat(r.socket); err == nil {
		t.Error("the socket outlives the bridge")
	}
	_, _, err = remote.SFTP(t.Context(), r.socket, nil)
	if proto.CodeOf(err) != proto.Remote {
		t.Errorf("without a bridge: %v", err)
	}
}

// Serve returns only after the last ssh has ended, however slow that is.
func TestServeWaitsForSSH(t *testing.T) {
	r := newRig(t)
	r.remote.SSH = filepath.Join(r.dir, "slow-ssh")
	must(t, os.WriteFile(r.remote.SSH, []byte("#!/bin/sh\ntrap 'sleep 0.5; exit 0' TERM\necho\nwhile :; do sleep 0.1; done\n"), 0o700))
	stop := r.listen()
	conn, err := remote.Dial(t.Context(), r.socket, remote.Request{Service: "sftp"}, nil)
	must(t, err)
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1)) // the trap is set
	must(t, err)
	stop()
	if n := len(processes(t, r.remote.SSH)); n > 0 {
		t.Error("ssh outlives the bridge")
	}
}

// A client that is killed must take its ssh with it.
func TestClientGone(t *testing.T) {
	r := newRig(t)
	r.listen()
	ctx, cancel := context.WithCancel(t.Context())
	_, closer, err := remote.SFTP(ctx, r.socket, nil)
	must(t, err)
	defer closer.Close()
	if len(processes(t, r.server.SSHConfig)) == 0 {
		t.Fatal("no ssh runs")
	}
	cancel()
	eventually(t, "ssh ends", func() bool { return len(processes(t, r.server.SSHConfig)) == 0 })
}

// An ssh that dies is seen at once, as a connection that was lost.
func TestSSHKilled(t *testing.T) {
	r := newRig(t)
	r.listen()
	conn, err := remote.Dial(t.Context(), r.socket, remote.Request{Service: "sftp"}, nil)
	must(t, err)
	defer conn.Close()
	eventually(t, "a session", func() bool { return r.server.Counters().Sessions == 1 })
	for _, pid := range processes(t, r.server.SSHConfig) {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	begin := time.Now()
	code, err := conn.Wait()
	if code != remote.ExitLost || proto.CodeOf(err) != proto.Remote {
		t.Errorf("status %d, %v", code, err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestRefusedRequestNamesArgument(t *testing.T) {
	r := newRig(t)
	r.remote.ReadOnly = true
	r.listen()
	_, stderr, err := r.rsync("-a", "-M--log-file=/tmp/x", "host:", filepath.Join(r.dir, "out"))
	if err == nil || !strings.Contains(stderr, `"--log-file=/tmp/x"`) {
		t.Errorf("%v, %s", err, stderr)
	}
	if _, _, err = r.rsync("-a", r.dir+"/keys", "host:"); err == nil {
		t.Error("a read-only bridge was written through")
	}
	if c := r.server.Counters(); c.Connections != 0 {
		t.Error("a refused request reached the remote")
	}
	if r.log.String() == "" {
		t.Error("a refused request is not logged")
	}
}

// A master connection of the user's is used, and we never become one.
func TestControlMaster(t *testing.T) {
	r := newRig(t)
	b, err := os.ReadFile(r.server.SSHConfig)
	must(t, err)
	config := filepath.Join(r.dir, "config")
	sock := filepath.Join(r.dir, "run", "m")
	must(t, os.WriteFile(config, append(b, "  ControlMaster auto\n  ControlPath "+sock+"\n  ControlPersist yes\n  RemoteCommand uname\n"...), 0o600))
	r.remote.SSHConfig = config
	r.listen()
	use := func() {
		t.Helper()
		_, closer, err := remote.SFTP(t.Context(), r.socket, nil)
		must(t, err)
		must(t, closer.Close())
	}
	use()
	if _, err := os.Lstat(sock); err == nil {
		t.Error("our ssh left a master behind")
	}
	before := r.server.Counters().Connections
	run(t, "ssh", "-F", config, "-o", "RemoteCommand=none", "-MNf", throwaway.Alias)
	defer run(t, "ssh", "-F", config, "-O", "exit", throwaway.Alias)
	use()
	use()
	if n := r.server.Counters().Connections - before; n != 1 {
		t.Errorf("%d connections, want the master's alone", n)
	}
}

func TestFailuresAreExplained(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(r *rig)
		want string
		hint string
	}{
		{"name", func(r *rig) { r.remote.Target, r.remote.SSHConfig = "x@no-such-host.invalid", "" }, "cannot be resolved", ""},
		{"refused", func(r *rig) { r.server.Close() }, "refuses the connection", "port"},
		{"unknown host key", func(r *rig) {
			must(r.t, os.WriteFile(filepath.Join(r.dir, "keys", "known_hosts"), nil, 0o600))
		}, "not known yet", "/keys/ssh_config " + throwaway.Alias + "` once"},
		{"changed host key", func(r *rig) {
			other, err := throwaway.Start(r.t.Context(), r.root, filepath.Join(r.dir, "other"))
			must(r.t, err)
			r.t.Cleanup(func() { other.Close() })
			known, err := os.ReadFile(filepath.Join(r.dir, "other", "known_hosts"))
			must(r.t, err)
			known = bytes.ReplaceAll(known, []byte(other.Port), []byte(r.server.Port))
			must(r.t, os.WriteFile(filepath.Join(r.dir, "keys", "known_hosts"), known, 0o600))
		}, "not the one that is known", "ssh-keygen -R"},
		{"key", func(r *rig) { must(r.t, os.Remove(filepath.Join(r.dir, "keys", "id_ed25519"))) }, "does not accept a key", "ssh-add"},
		{"subsystem", func(r *rig) { r.server.Refuse(true) }, "does not offer sftp", ""},
		{"configuration", func(r *rig) { must(r.t, os.WriteFile(r.remote.SSHConfig, []byte("Nonsense yes\n"), 0o600)) }, "configuration", ""},
		{"no ssh", func(r *rig) { r.remote.SSH = "/no/such/ssh" }, "start ssh", "install"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			c.make(r)
			r.listen()
			_, _, err := remote.SFTP(t.Context(), r.socket, nil)
			var e *proto.Error
			if !errors.As(err, &e) || !strings.Contains(e.Message, c.want) || !strings.Contains(e.Hint, c.hint) || e.Hint == "" {
				t.Errorf("got %v", err)
			}
			t.Log(err)
		})
	}
}

// Not a benchmark, only a guard against something that is slow by far.
func TestThroughput(t *testing.T) {
	r := newRig(t)
	const size = 64 << 20
	// A fake ssh, so that the cipher does not hide the bridge.
	r.remote.SSH = filepath.Join(r.dir, "ssh")
	must(t, os.WriteFile(r.remote.SSH, []byte("#!/bin/sh\nexec head -c 67108864 /dev/zero\n"), 0o700))
	r.listen()
	begin := time.Now()
	conn, err := remote.Dial(t.Context(), r.socket, remote.Request{Service: "sftp"}, nil)
	must(t, err)
	defer conn.Close()
	n, err := io.Copy(io.Discard, conn)
	must(t, err)
	if n != size {
		t.Fatalf("%d bytes of %d", n, size)
	}
	rate := float64(n) / 1e6 / time.Since(begin).Seconds()
	t.Logf("%.0f MB/s", rate)
	if rate < 10 { // the race detector and a busy machine have been seen to leave 70
		t.Errorf("%.0f MB/s", rate)
	}
}
