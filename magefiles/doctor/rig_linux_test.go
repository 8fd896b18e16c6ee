package doctor

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/bridge"
	"fuseless/magefiles/config"
	"fuseless/magefiles/evicted"
	"fuseless/magefiles/passphrase"
	"fuseless/magefiles/prereq"
)

var update = flag.Bool("update", false, "write the goldens")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a machine, with a guest and remotes, of which all is well.
type rig struct {
	t       *testing.T
	dir     string
	env     Env
	guest   fakeGuest
	remote  *proto.RemoteProbe                   // as the host sees it
	status  map[string]prereq.State              // of programs on the host; else present
	gone    map[string]bool                      // not installed
	calls   []string                             // questions to the guest
	state   func() (lima.State, error)           // of the VM
	tool    func() (lima.Tool, toolState, error) // limactl
	current bool                                 // the VM is as configured
}

// fakeGuest answers for a guest. It lists a probe folder as it is.
type fakeGuest struct {
	err     error
	result  proto.ProbeResult
	outputs map[string]string // of programs; missing ones are not installed
	source  proto.SourceProbe
	remote  proto.RemoteProbe
	skew    time.Duration
	folder  func(*proto.FolderProbe) // changes what is seen
}

var now = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

func newRig(t *testing.T, goos, guest string) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), status: map[string]prereq.State{}, gone: map[string]bool{}}
	at := func(name string) string { return filepath.Join(r.dir, name) }
	for _, d := range []string{"Pictures/2024", "restore", "lima"} {
		must(t, os.MkdirAll(at(d), 0o755))
	}
	must(t, os.WriteFile(at("Pictures/2024/sea.jpg"), []byte("sea"), 0o644))
	dest, err := config.ParseDestination("me@nas:backup/photos")
	must(t, err)
	v := config.Vault{Name: "photos", Source: at("Pictures"), Destination: dest, Port: 9843, Mountpoint: at("fuseless/photos"),
		Passphrase: passphrase.Source{Kind: passphrase.Prompt}}
	c := &config.Config{File: at("fuseless.yaml"), Guest: guest, Vaults: []config.Vault{v},
		VM: config.VM{Name: "fuseless", DiskGiB: 10, RestoreDir: at("restore")}}
	r.guest = fakeGuest{
		result: proto.ProbeResult{Kernel: "6.12.48-cloud-amd64", Free: 7 << 30},
		outputs: map[string]string{"gocryptfs": "gocryptfs 2.5.1; go-fuse v2.8.0\n", "sshfs": "SSHFS version 3.7.3\n",
			"rsync": "rsync  version 3.4.1  protocol version 32\n", "fusermount3": "fusermount3 version: 3.17.2\n"},
		source: proto.SourceProbe{Mount: "virtiofs", ReadOnly: true, Entries: 2, File: []byte("2024/sea.jpg")},
		remote: proto.RemoteProbe{Exists: true, Vault: true, Free: 3 << 40, Rsync: 31},
		folder: func(*proto.FolderProbe) {},
	}
	r.remote = &r.guest.remote
	r.state = func() (lima.State, error) { return lima.Running, nil }
	r.tool = func() (lima.Tool, toolState, error) {
		return lima.Tool{Path: "/opt/homebrew/bin/limactl", Version: "2.0.3"}, installed, nil
	}
	r.current = true
	r.env = Env{
		Config: c, Vaults: c.Vaults, Guest: r.ask,
		Remote: func(v config.Vault) bridge.Remote {
			return bridge.Remote{Target: v.Destination.Target(), Path: v.Destination.Path}
		},
		system: r.system(goos),
	}
	if guest == config.Lima {
		r.env.VM = &VM{
			Home:    at("lima"),
			State:   func(context.Context) (lima.State, error) { return r.state() },
			Current: func(context.Context) (bool, error) { return r.current, nil },
		}
	}
	return r
}

func (r *rig) system(goos string) *system {
	versions := map[string]string{"gocryptfs": "2.3.1", "sshfs": "3.7.3", "fusermount3": "3.14.0", "rsync": "3.2.7", "ssh": "9.2p1", "mount.davfs": "1.6.1"}
	s := &system{
		goos: goos, euid: 501, now: func() time.Time { return now },
		needs: func(_ context.Context, needs []prereq.Need) []prereq.Status {
			var all []prereq.Status
			for _, n := range needs {
				if goos == "darwin" && n.Program == "mount.davfs" {
					continue // the needs of the machine that runs the test
				}
				s := prereq.Status{Need: n, State: r.status[n.Program], Path: "/usr/bin/" + n.Program, Version: versions[n.Program]}
				if s.State == prereq.Absent {
					s.Path, s.Version = "", ""
				}
				all = append(all, s)
			}
			return all
		},
		mend:       func(s []prereq.Status) string { return "sudo apt-get install " + s[0].Need.Apt },
		installed:  func(p string) (string, bool) { return p, !r.gone[p] },
		root:       func(context.Context) error { return nil },
		needQEMU:   func() error { return nil },
		qemu:       func(context.Context) string { return "10.0.3" },
		limactl:    func(context.Context, string) (lima.Tool, toolState, error) { return r.tool() },
		accelerate: func(context.Context) lima.Acceleration { return lima.Acceleration{Fast: true, Why: "KVM works"} },
		free:       func(string) (int64, bool) { return 100 << 30, true },
		listen:     func(int) error { return nil },
		mounted:    func(string) (string, bool, error) { return "", false, nil },
		dirs: func() ([]folder, error) {
			return []folder{{"state folder", "/home/me/.local/state/fuseless"}, {"cache folder", "/home/me/.cache/fuseless"}}, nil
		},
		remote: func(context.Context, bridge.Remote, proto.Destination) *proto.RemoteProbe { return r.remote },
	}
	if goos == "darwin" {
		s.accelerate = func(context.Context) lima.Acceleration {
			return lima.Acceleration{Fast: true, Why: "macOS's own virtualisation"}
		}
		s.lstat = func(p string) (evicted.Stat, error) {
			fi, err := os.Lstat(p)
			if err != nil {
				return evicted.Stat{}, err
			}
			st := evicted.Stat{Size: fi.Size()}
			if strings.HasPrefix(fi.Name(), "cloud") {
				st.Flags = 0x40000000
			}
			return st, nil
		}
	}
	return s
}

// ask is the guest.
func (r *rig) ask(_ context.Context, vault string, o proto.ProbeOptions) (*proto.ProbeResult, error) {
	g := &r.guest
	if g.err != nil {
		return nil, g.err
	}
	p := g.result
	p.Clock = now.Add(g.skew)
	question := vault
	if o.Programs {
		question += " programs"
		for _, n := range []string{"gocryptfs", "sshfs", "rsync", "fusermount3"} {
			pp := proto.ProgramProbe{Name: n, Output: g.outputs[n]}
			if pp.Output != "" {
				pp.Path = "/usr/bin/" + n
			}
			p.Programs = append(p.Programs, pp)
		}
	}
	for _, s := range o.Sources {
		sp := g.source
		sp.Path = s
		p.Sources = append(p.Sources, sp)
		question += " " + s
	}
	if o.Remote {
		question += " remote"
		p.Remote = &g.remote
	}
	if o.Folder != "" {
		question += " folder"
		p.Folder = r.look(o)
	}
	r.calls = append(r.calls, question)
	return &p, nil
}

// look lists the probe folder where the host has it.
func (r *rig) look(o proto.ProbeOptions) *proto.FolderProbe {
	t, dir := r.t, o.Folder
	t.Helper()
	if rest, ok := strings.CutPrefix(dir, "/mnt/fuseless/restore/"); ok {
		dir = filepath.Join(r.env.Config.VM.RestoreDir, rest)
	}
	f := &proto.FolderProbe{Stable: true}
	if !o.Again {
		for _, n := range []string{proto.ProbeMadeNFC, proto.ProbeMadeNFD} {
			must(t, os.WriteFile(filepath.Join(dir, n), nil, 0o600))
		}
		f.Set = proto.ProbeTime.Add(time.Hour)
		must(t, os.Chtimes(filepath.Join(dir, proto.ProbeMadeNFC), f.Set, f.Set))
		f.Got = f.Set
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	numbers := map[string]uint64{proto.ProbeOld: 100, proto.ProbeNew: 100, proto.ProbeLink: 200, proto.ProbeLinked: 200}
	for _, e := range entries {
		fi, err := e.Info()
		must(t, err)
		pe := proto.ProbeEntry{Name: []byte(e.Name()), Listed: true, Inode: numbers[e.Name()], Links: 1, Time: fi.ModTime().UTC()}
		if pe.Inode == 0 {
			pe.Inode = uint64(len(e.Name()) * 1000)
		}
		if pe.Inode == 200 {
			pe.Links = 2
		}
		f.Entries = append(f.Entries, pe)
	}
	r.guest.folder(f)
	return f
}

// report runs doctor and returns the report with what was printed.
func (r *rig) report(asJSON bool) (text string, err error) {
	r.t.Helper()
	var out bytes.Buffer
	err = Print(r.t.Context(), r.env, &out, asJSON)
	for _, d := range []string{r.dir + "/restore", os.TempDir()} {
		if left, _ := filepath.Glob(filepath.Join(d, probePrefix+"*")); len(left) > 0 {
			r.t.Errorf("it left %v", left)
		}
	}
	return strings.ReplaceAll(out.String(), r.dir, "/DIR"), err
}

// golden compares with a file below testdata/doctor.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("..", "..", "testdata", "doctor", name)
	if *update {
		must(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != got {
		t.Errorf("%s (%v; -update writes it):\n%s", name, err, got)
	}
}

var errDown = &proto.Error{Code: proto.Guest, Message: "connect to the VM: it does not answer", Hint: "`fuseless down`, then `fuseless up`", Err: errors.New("x")}
