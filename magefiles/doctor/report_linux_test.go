package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/config"
	"fuseless/magefiles/passphrase"
	"fuseless/magefiles/prereq"
)

func TestAllIsWell(t *testing.T) {
	for _, c := range []struct{ name, goos, guest string }{{"mac", "darwin", config.Lima}, {"linux", "linux", config.Local}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.goos, c.guest)
			text, err := r.report(false)
			if err != nil {
				t.Errorf("error %v", err)
			}
			golden(t, "well-"+c.name+".golden", text)
		})
	}
}

// A Mac on which nearly everything is wrong that can be.
func TestMacWithFaults(t *testing.T) {
	r := newRig(t, "darwin", config.Lima)
	must(t, os.WriteFile(filepath.Join(r.dir, "Pictures/cloud\x1b[31m.jpg"), make([]byte, 4096), 0o644))
	r.tool = func() (lima.Tool, toolState, error) {
		return lima.Tool{Path: "/opt/homebrew/bin/limactl", Version: "1.0.7"}, installed,
			proto.Errorf(proto.Prerequisite, "/opt/homebrew/bin/limactl is version 1.0.7; the oldest that works is 1.1").WithHint("brew upgrade lima")
	}
	g := &r.guest
	g.skew = -95 * time.Minute
	g.result.Free = 300 << 20
	g.outputs["gocryptfs"] = "gocryptfs v2.1; go-fuse v2.1.0\n"
	g.outputs["rsync"] = ""
	g.source = proto.SourceProbe{Mount: "virtiofs", ReadOnly: true, Failed: 1,
		Error: &proto.ProbeError{Code: proto.Source, Text: "operation not permitted", Errno: "EPERM", Path: []byte("")}}
	g.remote = proto.RemoteProbe{Exists: true, Free: 200 << 20, Rsync: 29}
	g.folder = func(f *proto.FolderProbe) {
		f.Stable, f.FindsNFC, f.FindsNFD, f.FindsCase = false, true, true, true
		for i := range f.Entries {
			e := &f.Entries[i]
			e.Time, e.Links = e.Time.Truncate(time.Second), 1
			if string(e.Name) == proto.ProbeNFC {
				e.Name = []byte(proto.ProbeNFCOther)
			}
		}
	}
	r.env.system.listen = func(port int) error { return errors.New("listen tcp 127.0.0.1:9843: bind: address already in use") }
	r.env.system.free = func(dir string) (int64, bool) { return 5 << 30, true }
	text, err := r.report(false)
	golden(t, "faults-mac.golden", text)
	// limactl comes first, and the VM, the sources and the remote depend on it.
	if proto.CodeOf(err) != proto.Prerequisite {
		t.Errorf("error %v", err)
	}
	doc, err2 := r.report(true)
	golden(t, "faults-mac.json", doc)
	if proto.CodeOf(err2) != proto.Prerequisite {
		t.Errorf("error %v", err2)
	}
	var back Report
	must(t, json.Unmarshal([]byte(doc), &back))
	if back.Schema != 1 || back.Code != proto.Prerequisite || back.Mount == nil || back.Mount.TimeToGuest != time.Second {
		t.Errorf("document %+v", back)
	}
	for _, c := range back.Checks {
		if (c.Code != 0) != c.Status.bad() {
			t.Errorf("%s: %s with code %d", c.Name, c.Status, c.Code)
		}
		if c.Status.bad() && c.Mend == "" {
			t.Errorf("%s is %s, and nothing says what mends it", c.Name, c.Status)
		}
	}
}

// Without a VM there is much that can be said, and none is started.
func TestLinuxWithoutVM(t *testing.T) {
	r := newRig(t, "linux", config.Lima)
	r.tool = func() (lima.Tool, toolState, error) { return lima.Tool{}, buildable, nil }
	r.state = func() (lima.State, error) { return lima.Absent, nil }
	r.env.system.needQEMU = func() error {
		return proto.Errorf(proto.Prerequisite, "qemu-system-x86_64 and qemu-img is not installed; it runs the VM").
			WithHint("sudo apt-get install --no-install-recommends qemu-system-x86 qemu-utils ovmf")
	}
	r.env.system.accelerate = func(context.Context) lima.Acceleration { return lima.Acceleration{Why: "there is no /dev/kvm"} }
	r.env.system.root = func(context.Context) error { return errors.New("sudo asks") }
	r.env.system.euid = 0
	r.status["ssh"] = prereq.TooOld
	r.status["mount.davfs"] = prereq.Absent
	r.gone["mount.davfs"] = true
	r.remote = &proto.RemoteProbe{Free: -1, Error: &proto.ProbeError{Code: proto.Remote,
		Text: "the remote's host key is not known yet (me@nas): Host key verification failed.", Hint: "run `ssh me@nas` once and compare the fingerprint"}}
	text, err := r.report(false)
	golden(t, "faults-linux.golden", text)
	if proto.CodeOf(err) != proto.Prerequisite || !strings.Contains(err.Error(), "photos's destination (failed)") {
		t.Errorf("error %v", err)
	}
	if len(r.calls) > 0 {
		t.Errorf("it asked the guest: %v", r.calls)
	}
}

// The exit code is that of the first check that failed; warnings have none.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		name  string
		code  proto.Code
		check string // "group name status"
		spoil func(*rig)
	}{
		{"source is missing", proto.Source, "vault source failed", func(r *rig) { must(r.t, os.RemoveAll(r.dir+"/Pictures")) }},
		{"source is empty", proto.OK, "vault source warning", func(r *rig) { must(r.t, os.RemoveAll(r.dir+"/Pictures/2024")) }},
		{"evicted", proto.Source, "vault iCloud failed", func(r *rig) { must(r.t, os.WriteFile(r.dir+"/Pictures/cloud", nil, 0o644)) }},
		{"evicted, and excluded", proto.OK, "vault iCloud ok", func(r *rig) {
			must(r.t, os.WriteFile(r.dir+"/Pictures/cloud", nil, 0o644))
			r.env.Vaults[0].Exclude = []string{"cloud*"}
		}},
		{"no source at all", proto.OK, "vault source skipped", func(r *rig) { r.env.Vaults[0].Source = "" }},
		{"not mounted in the VM", proto.Guest, "vault read in guest failed", func(r *rig) { r.guest.source.Mount = "" }},
		{"empty in the VM", proto.Guest, "vault read in guest failed", func(r *rig) {
			r.guest.source.File, r.guest.source.Entries = nil, 0
		}},
		{"writable in the VM", proto.OK, "vault read in guest warning", func(r *rig) { r.guest.source.ReadOnly = false }},
		{"evicted in the VM", proto.Source, "vault read in guest failed", func(r *rig) {
			r.guest.source.File = nil
			r.guest.source.Error = &proto.ProbeError{Code: proto.Source, Text: "resource deadlock avoided", Errno: "EDEADLK", Path: []byte("a b")}
		}},
		{"some not readable", proto.OK, "vault read in guest warning", func(r *rig) {
			r.guest.source.Failed, r.guest.source.Error = 3, &proto.ProbeError{Text: "permission denied", Errno: "EACCES", Path: []byte("x")}
		}},
		{"our own port", proto.OK, "vault port ok", func(r *rig) {
			r.env.system.listen = func(int) error { return errors.New("taken") }
			r.guest.result.Server = &proto.ServerStatus{Address: "127.0.0.1:9843"}
		}},
		{"port taken", proto.Serve, "vault port failed", func(r *rig) {
			r.env.system.listen = func(int) error { return errors.New("taken") }
			r.guest.result.Server = &proto.ServerStatus{Address: "127.0.0.1:9850"}
		}},
		{"view is mounted", proto.OK, "vault mountpoint ok", func(r *rig) {
			r.env.system.mounted = func(string) (string, bool, error) { return "http://127.0.0.1:9843/", true, nil }
		}},
		{"something else is mounted", proto.Mount, "vault mountpoint failed", func(r *rig) {
			r.env.system.mounted = func(string) (string, bool, error) { return "http://127.0.0.1:98430/", true, nil }
		}},
		{"mountpoint is full", proto.Mount, "vault mountpoint failed", func(r *rig) { r.env.Vaults[0].Mountpoint = r.dir + "/Pictures" }},
		{"mountpoint is a file", proto.Mount, "vault mountpoint failed", func(r *rig) {
			r.env.Vaults[0].Mountpoint = r.dir + "/Pictures/2024/sea.jpg"
		}},
		{"mountpoint below a file", proto.Mount, "vault mountpoint failed", func(r *rig) {
			r.env.Vaults[0].Mountpoint = r.dir + "/Pictures/2024/sea.jpg/x"
		}},
		{"passphrase's command", proto.Passphrase, "vault passphrase missing", func(r *rig) {
			r.env.Vaults[0].Passphrase = passphrase.Source{Kind: passphrase.Command, Command: []string{"fuseless-no-such-program", "show"}}
		}},
		{"no folder on the remote", proto.OK, "vault destination ok", func(r *rig) { r.guest.remote.Exists, r.guest.remote.Vault = false, false }},
		{"no rsync", proto.Remote, "vault remote rsync failed", func(r *rig) {
			r.guest.remote.RsyncError = &proto.ProbeError{Code: proto.Remote, Text: "the remote has no rsync", Hint: "install rsync there"}
		}},
		{"server does not tell", proto.OK, "vault remote disk skipped", func(r *rig) { r.guest.remote.Free = -1 }},
		{"VM does not answer", proto.Guest, "guest VM failed", func(r *rig) { r.guest.err = errDown }},
		{"VM is broken", proto.Guest, "guest VM failed", func(r *rig) { r.state = func() (lima.State, error) { return lima.Broken, nil } }},
		{"VM is stopped", proto.OK, "guest VM skipped", func(r *rig) { r.state = func() (lima.State, error) { return lima.Stopped, nil } }},
		{"VM is degraded", proto.OK, "guest readiness warning", func(r *rig) { r.state = func() (lima.State, error) { return lima.Degraded, nil } }},
		{"VM is not as configured", proto.OK, "guest VM warning", func(r *rig) { r.current = false }},
		{"limactl was built", proto.OK, "host limactl ok", func(r *rig) {
			r.tool = func() (lima.Tool, toolState, error) {
				return lima.Tool{Path: "/home/me/.cache/fuseless/lima/lima-1.2.2-0/bin/limactl", Version: "1.2.2"}, built, nil
			}
		}},
		{"no FUSE", proto.Prerequisite, "guest fuse failed", func(r *rig) { r.guest.result.Fuse = "open /dev/fuse: operation not permitted" }},
		{"clock within limits", proto.OK, "guest clock ok", func(r *rig) { r.guest.skew = 1900 * time.Millisecond }},
		{"clock ahead", proto.OK, "guest clock warning", func(r *rig) { r.guest.skew = 2100 * time.Millisecond }},
		{"limactl of the future", proto.Prerequisite, "host limactl failed", func(r *rig) {
			r.tool = func() (lima.Tool, toolState, error) {
				return lima.Tool{Version: "3.0.0"}, installed, proto.Errorf(proto.Prerequisite, "up to 2.x")
			}
		}},
		{"no limactl on a Mac", proto.Prerequisite, "host limactl missing", func(r *rig) {
			r.tool = func() (lima.Tool, toolState, error) {
				return lima.Tool{}, nowhere, proto.Errorf(proto.Prerequisite, "x").WithHint("brew install lima")
			}
		}},
		{"VM's folder", proto.Config, "host VM's folder failed", func(r *rig) { r.env.VM.Home = "/a b" }},
		{"no restore folder", proto.Mount, "mount probe failed", func(r *rig) { must(r.t, os.RemoveAll(r.dir+"/restore")) }},
		{"restore folder is not in the VM", proto.Mount, "mount probe failed", func(r *rig) {
			r.guest.folder = func(f *proto.FolderProbe) { f.Error = &proto.ProbeError{Text: "no such file", Errno: "ENOENT"} }
		}},
		{"guest cannot write", proto.OK, "mount writing warning", func(r *rig) {
			r.guest.folder = func(f *proto.FolderProbe) {
				f.WriteError = &proto.ProbeError{Text: "read-only file system", Errno: "EROFS"}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "darwin", config.Lima)
			c.spoil(r)
			report, err := Run(t.Context(), r.env, nil)
			must(t, err)
			if got := proto.CodeOf(report.Err()); got != c.code || report.Code != c.code {
				t.Errorf("code %d, and %d in the report, want %d: %v", got, report.Code, c.code, report.Err())
			}
			words := strings.SplitN(c.check, " ", 2)
			i := slices.IndexFunc(report.Checks, func(k Check) bool { return k.Group+" "+k.Name+" "+string(k.Status) == c.check })
			if i < 0 {
				for _, k := range report.Checks {
					if k.Group == words[0] {
						t.Logf("%+v", k)
					}
				}
				t.Errorf("no check %q", c.check)
			}
		})
	}
}

// A machine without a configuration is looked at, too.
func TestWithoutConfiguration(t *testing.T) {
	r := newRig(t, "darwin", config.Lima)
	r.env.Config, r.env.Vaults = nil, nil
	r.env.Fault = proto.Errorf(proto.Config, "no fuseless.yaml").WithHint("run `fuseless setup`")
	report, err := Run(t.Context(), r.env, nil)
	must(t, err)
	if report.Code != proto.Config || report.Find(Host, "", "limactl") == nil || report.Find(Host, "", "limactl").Status != OK {
		t.Errorf("%+v", report)
	}
	if len(r.calls) > 0 {
		t.Errorf("it asked a guest: %v", r.calls)
	}
}

// Interrupted, it ends at once, and says so instead of half a report.
func TestInterrupted(t *testing.T) {
	r := newRig(t, "darwin", config.Lima)
	ctx, cancel := context.WithCancel(t.Context())
	r.env.system.accelerate = func(context.Context) lima.Acceleration { cancel(); return lima.Acceleration{Fast: true} }
	if err := Print(ctx, r.env, os.Stderr, true); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if len(r.calls) > 0 {
		t.Errorf("it asked the guest: %v", r.calls)
	}
}

// Each question takes time, so there are no more than these.
func TestQuestions(t *testing.T) {
	r := newRig(t, "darwin", config.Lima)
	_, err := Run(t.Context(), r.env, nil)
	must(t, err)
	if len(r.calls) != 5 || r.calls[0] != "photos" || r.calls[1] != "photos programs" || !strings.HasSuffix(r.calls[4], " remote") ||
		!strings.HasPrefix(r.calls[4], "photos /mnt/fuseless/source-") {
		t.Errorf("%q", r.calls)
	}
}

// What the VM has taken of the disk already, it does not need again.
func TestAllocated(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "disk"), make([]byte, 1<<20), 0o600))
	must(t, os.Truncate(filepath.Join(dir, "disk"), 1<<40)) // sparse, as the VM's is
	if got := allocated(dir); got < 1<<20 || got > 2<<20 {
		t.Errorf("%d bytes", got)
	}
	if got := allocated(filepath.Join(dir, "none")); got != 0 {
		t.Errorf("%d bytes of nothing", got)
	}
}
