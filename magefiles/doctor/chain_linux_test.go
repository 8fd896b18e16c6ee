package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fuseless/guest/mounts"
	"fuseless/guest/ops"
	"fuseless/guest/proto"
	"fuseless/guest/store"
	"fuseless/magefiles/bridge"
	"fuseless/magefiles/config"
	"fuseless/magefiles/passphrase"
	"fuseless/magefiles/throwaway"
)

// chain is the real thing as far as one process goes: this machine, the guest's
// own operation, the bridge, ssh, and a remote.
type chain struct {
	t      *testing.T
	dir    string
	server *throwaway.Server
	env    Env
}

func newChain(t *testing.T) *chain {
	t.Helper()
	for _, p := range []string{"ssh", "rsync"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(p, " is not installed")
		}
	}
	c := &chain{t: t, dir: t.TempDir()}
	memory, err := os.MkdirTemp("/dev/shm", "doctor-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(memory) })
	t.Setenv("XDG_RUNTIME_DIR", memory)
	t.Setenv("XDG_STATE_HOME", filepath.Join(c.dir, "state"))
	for _, d := range []string{"root", "keys", "source"} {
		must(t, os.Mkdir(filepath.Join(c.dir, d), 0o700))
	}
	must(t, os.WriteFile(filepath.Join(c.dir, "source/file"), []byte("x"), 0o600))
	c.server, err = throwaway.Start(t.Context(), filepath.Join(c.dir, "root"), filepath.Join(c.dir, "keys"))
	must(t, err)
	t.Cleanup(func() { c.server.Close() })
	dest, err := config.ParseDestination(throwaway.Alias + ":some/vault")
	must(t, err)
	conf := &config.Config{File: filepath.Join(c.dir, "fuseless.yaml"), Guest: config.Local, SSHConfig: c.server.SSHConfig}
	conf.Vaults = []config.Vault{{Name: "photos", Source: filepath.Join(c.dir, "source"), Destination: dest, Port: freePort(t),
		Mountpoint: filepath.Join(c.dir, "mnt"), Passphrase: passphrase.Source{Kind: passphrase.Prompt}}}
	c.env = Env{Config: conf, Vaults: conf.Vaults, Guest: c.ask, Remote: c.remote, system: realSystem()}
	return c
}

// freePort is a port that nobody has at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (c *chain) remote(v config.Vault) bridge.Remote {
	return bridge.Remote{Target: v.Destination.Target(), Path: v.Destination.Path, SSHConfig: c.env.Config.SSHConfig, ReadOnly: true}
}

// ask is the guest, behind a bridge.
func (c *chain) ask(ctx context.Context, vault string, o proto.ProbeOptions) (*proto.ProbeResult, error) {
	c.t.Helper()
	v := c.env.Vaults[0]
	req := &proto.Request{Protocol: proto.Version, Op: proto.OpProbe, Instance: "0123abcd", Vault: vault, Probe: o,
		Destination: proto.Destination{Label: v.Destination.String(), Path: v.Destination.Path, Target: v.Destination.Target()}}
	if o.Remote {
		socket := filepath.Join(c.dir, "keys", "bridge.sock")
		l, err := bridge.Listen(socket)
		must(c.t, err)
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- bridge.Serve(ctx, l, c.remote(v), nil) }()
		defer func() {
			cancel()
			must(c.t, <-done)
		}()
		req.Destination.Socket = socket
	}
	var out bytes.Buffer
	if err := ops.Run(ctx, req, proto.NewEmitter(&out)); err != nil {
		return nil, err
	}
	var e proto.Event
	must(c.t, json.Unmarshal(out.Bytes(), &e))
	return e.Probe, nil
}

func (c *chain) run() *Report {
	c.t.Helper()
	r, err := Run(c.t.Context(), c.env, nil)
	must(c.t, err)
	return r
}

func (c *chain) check(r *Report, group, name string, want Status) *Check {
	c.t.Helper()
	vault := ""
	if group == Vault {
		vault = "photos"
	}
	k := r.Find(group, vault, name)
	if k == nil || k.Status != want {
		c.t.Errorf("%s %s: %+v, want %s", group, name, k, want)
	}
	return k
}

func TestRealChain(t *testing.T) {
	c := newChain(t)
	r := c.run()
	c.check(r, Guest, "guest", OK)
	for _, n := range []string{"writing", "names", "case", "inodes", "hard links"} {
		c.check(r, Mount, n, OK)
	}
	c.check(r, Vault, "read in guest", OK)
	c.check(r, Vault, "port", OK)
	c.check(r, Vault, "mountpoint", OK)
	c.check(r, Vault, "destination", OK)
	c.check(r, Vault, "remote rsync", OK)
	if k := c.check(r, Vault, "remote disk", OK); k != nil && !strings.Contains(k.Text, "free") {
		t.Errorf("%+v", k)
	}
	if f := r.Mount; f == nil || f.TimeToGuest != 1 || f.TimeToHost != 1 || !f.InodesKept || f.FormsGuest || f.NFDToHost != kept {
		t.Errorf("facts %+v", f)
	}
	// It changed nothing on the remote, and asked for nothing that a storage box
	// would not do.
	if entries, err := os.ReadDir(filepath.Join(c.dir, "root")); err != nil || len(entries) > 0 {
		t.Errorf("on the remote: %v %v", entries, err)
	}
	if refused := c.server.Counters().Refused; len(refused) > 0 {
		t.Errorf("refused: %q", refused)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), probePrefix+"*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// While the guest cannot be asked, the host looks at the remote itself, and
// finds the same.
func TestRemoteFromTheHost(t *testing.T) {
	c := newChain(t)
	must(t, os.MkdirAll(filepath.Join(c.dir, "root/some/vault"), 0o700))
	must(t, os.WriteFile(filepath.Join(c.dir, "root/some/vault/gocryptfs.conf"), []byte("{}"), 0o400))
	d := &doctor{Env: c.env}
	dest, r := d.destination(c.env.Vaults[0])
	host := d.system.remote(t.Context(), r, dest)
	p, err := c.ask(t.Context(), "photos", proto.ProbeOptions{Remote: true})
	must(t, err)
	for who, p := range map[string]*proto.RemoteProbe{"host": host, "guest": p.Remote} {
		if p.Error != nil || p.RsyncError != nil || !p.Vault || p.Rsync < 31 || p.Free <= 0 {
			t.Errorf("%s: %+v", who, p)
		}
	}
}

func TestRemoteThatRefuses(t *testing.T) {
	c := newChain(t)
	c.server.Refuse(true)
	r := c.run()
	if k := c.check(r, Vault, "destination", Failed); k.Code != proto.Remote || k.Mend == "" {
		t.Errorf("%+v", k)
	}
	if r.Find(Vault, "photos", "remote rsync") != nil {
		t.Error("it went on to ask for rsync")
	}
	c.server.Close()
	r = c.run()
	if k := c.check(r, Vault, "destination", Failed); k.Code != proto.Remote || !strings.Contains(k.Text, "refuses the connection") {
		t.Errorf("%+v", k)
	}
}

// programs makes PATH a folder with ssh and this rsync, which the remote, too,
// then runs.
func programs(t *testing.T, rsync string) {
	t.Helper()
	bin := t.TempDir()
	ssh, err := exec.LookPath("ssh")
	must(t, err)
	must(t, os.Symlink(ssh, filepath.Join(bin, "ssh")))
	if rsync != "" {
		must(t, os.WriteFile(filepath.Join(bin, "rsync"), []byte("#!/bin/sh\n"+rsync+"\n"), 0o755))
	}
	t.Setenv("PATH", bin)
}

func TestRsyncOfTheRemote(t *testing.T) {
	for _, c := range []struct {
		name, rsync string
		protocol    int
		fault       string
	}{
		{"missing", "", 0, "cannot run what is needed"},
		{"a shell that greets", "echo Welcome to this machine", 0, "prints something"},
		{"ends silently", "exit 3", 0, "ended with status 3"},
		{"of macOS", `printf '\035\000\000\000'; /bin/cat > /dev/null`, 29, ""},
		{"new", `printf '\040\000\000\000'; /bin/cat > /dev/null`, 32, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := newChain(t)
			programs(t, c.rsync)
			p, err := ch.ask(t.Context(), "photos", proto.ProbeOptions{Remote: true})
			must(t, err)
			r := p.Remote
			if r.Error != nil || r.Rsync != c.protocol || (r.RsyncError != nil) != (c.fault != "") {
				t.Fatalf("%+v %+v", r, r.RsyncError)
			}
			if e := r.RsyncError; e != nil && (!strings.Contains(e.Text, c.fault) || e.Code != proto.Remote || e.Hint == "") {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A folder that is not made yet lies on the disk of the one above it.
func TestFreeSpaceOfThisMachine(t *testing.T) {
	free, known := store.FreeOn(filepath.Join(t.TempDir(), "not", "made", "yet"))
	if !known || free <= 0 {
		t.Errorf("%d %v", free, known)
	}
}

// TestThroughSSHFS looks through what Lima mounts by on a Linux host: sshfs,
// over the folder that the throwaway server shows.
func TestThroughSSHFS(t *testing.T) {
	c := newChain(t)
	if _, err := exec.LookPath("sshfs"); err != nil {
		t.Skip("sshfs is not installed")
	}
	mnt, root := filepath.Join(c.dir, "mnt-sshfs"), filepath.Join(c.dir, "root", "folder")
	must(t, os.Mkdir(mnt, 0o700))
	must(t, os.Mkdir(root, 0o700))
	if out, err := exec.Command("sshfs", "-F", c.server.SSHConfig, throwaway.Alias+":", mnt).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer func() { // not t.Cleanup: the server ends before that, and sshfs by itself
		if busy, err := mounts.Unmount(context.Background(), mnt, time.Minute); err != nil || busy {
			t.Errorf("unmount: busy: %v, %v", busy, err)
		}
	}()
	h, err := makeFiles(root)
	must(t, err)
	first, err := c.ask(t.Context(), "photos", proto.ProbeOptions{Folder: mnt + "/folder", Sources: []string{mnt}})
	must(t, err)
	must(t, h.look(root))
	must(t, os.Rename(filepath.Join(root, proto.ProbeOld), filepath.Join(root, proto.ProbeNew)))
	second, err := c.ask(t.Context(), "photos", proto.ProbeOptions{Folder: mnt + "/folder", Again: true})
	must(t, err)
	f := compare(h, first.Folder, second.Folder)
	t.Logf("%+v", f)
	// sftp has times in whole seconds, and no hard links.
	if f.TimeToGuest != time.Second || f.TimeToHost != time.Second || f.HardLinks || !f.InodesStable || f.NFCToGuest != kept || f.NFDToHost != kept || f.WriteError != "" {
		t.Errorf("%+v", f)
	}
	if s := first.Sources[0]; s.Mount != "fuse.sshfs" || s.ReadOnly || s.File == nil {
		t.Errorf("%+v", s)
	}
}
