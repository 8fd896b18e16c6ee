package templates_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lima-vm/lima/pkg/limayaml"

	"fuseless/templates"
)

// guest is a folder that the scripts take for the root of a guest, with
// stand-ins for the programs that they run.
type guest struct {
	t    *testing.T
	root string
	y    *limayaml.LimaYAML
}

// The stand-in of apt-get records its arguments and installs by writing names
// where that of dpkg-query looks.
var standIns = map[string]string{
	"apt-get": `echo "$*" >>"$FUSELESS_ROOT/apt.calls"
for last; do :; done
[ ! -e "$FUSELESS_ROOT/offline" ] || { echo "E: Failed to fetch $last"; exit 100; }
case " $* " in *" install "*) printf '%s\n' "$@" >>"$FUSELESS_ROOT/installed" ;; esac`,
	"dpkg-query": `for last; do :; done
grep -qx "$last" "$FUSELESS_ROOT/installed" 2>/dev/null && printf installed`,
	"sshd":      `echo "streamlocalbindunlink yes"`,
	"loginctl":  `echo "$*" >>"$FUSELESS_ROOT/loginctl.calls"`,
	"gocryptfs": `echo "gocryptfs ${GOCRYPTFS:-2.5.1}; go-fuse 2.5.1; 2025-01-23 go1.24 linux/amd64"`,
	"sshfs":     `:`, "rsync": `:`, "fusermount3": `:`,
}

func newGuest(t *testing.T, vm templates.VM) *guest {
	g := &guest{t, t.TempDir(), load(t, render(t, vm))}
	for name, body := range standIns {
		g.write("bin/"+name, "#!/bin/sh\n"+body+"\n", 0o755)
	}
	return g
}

func (g *guest) write(name, content string, mode os.FileMode) {
	g.t.Helper()
	file := filepath.Join(g.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guest) read(name string) string {
	b, _ := os.ReadFile(filepath.Join(g.root, name))
	return string(b)
}

// run gives script to bash on standard input, as Lima gives probes to it.
func (g *guest) run(script string, env ...string) (string, bool) {
	g.t.Helper()
	cmd := exec.Command("bash")
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = append([]string{"PATH=" + g.root + "/bin:/usr/bin:/bin", "FUSELESS_ROOT=" + g.root, "FUSELESS_PAUSE=0", "FUSELESS_SECONDS=1"}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// boot does what Lima does at a boot: the data, then the script.
func (g *guest) boot() (string, bool) {
	g.t.Helper()
	if err := os.RemoveAll(filepath.Join(g.root, "run")); err != nil {
		g.t.Fatal(err)
	}
	var script string
	for _, p := range g.y.Provision {
		switch p.Mode {
		case limayaml.ProvisionModeData:
			g.write(*p.Path, *p.Content, 0o600)
		case limayaml.ProvisionModeSystem:
			script = p.Script
		}
	}
	return g.run(script)
}

func (g *guest) probe(n int, env ...string) (string, bool) {
	g.t.Helper()
	return g.run(g.y.Probes[n].Script, env...)
}

func TestProvisioningIsIdempotent(t *testing.T) {
	g := newGuest(t, cases["linux"])
	if out, ok := g.probe(0); ok || !strings.Contains(out, "not finished") {
		t.Errorf("before: %v %s", ok, out)
	}
	out, ok := g.boot()
	if !ok {
		t.Fatalf("the first boot: %s", out)
	}
	if got := g.read("usr/local/bin/fuseless-guest"); got != standIn {
		t.Errorf("the guest binary is %q", got)
	}
	calls := g.read("apt.calls")
	if strings.Count(calls, "update") != 1 || !strings.Contains(calls, "--no-install-recommends") ||
		!strings.Contains(calls, "gocryptfs sshfs rsync fuse3") {
		t.Errorf("apt-get: %s", calls)
	}
	if !strings.HasPrefix(g.read("loginctl.calls"), "enable-linger ") || strings.Contains(g.read("loginctl.calls"), "{{") {
		t.Errorf("loginctl: %s", g.read("loginctl.calls"))
	}
	for n, probe := range g.y.Probes[:2] {
		if out, ok := g.probe(n); !ok {
			t.Errorf("%s: %s", probe.Description, out)
		}
	}
	before, err := os.Stat(filepath.Join(g.root, templates.GuestFile))
	if err != nil || before.Mode().Perm() != 0o755 {
		t.Fatalf("%v %v", before, err)
	}

	out, ok = g.boot()
	after, err := os.Stat(filepath.Join(g.root, templates.GuestFile))
	if err != nil {
		t.Fatal(err)
	}
	if !ok || !os.SameFile(before, after) || g.read("apt.calls") != calls {
		t.Errorf("the second boot did something: %s%s", out, g.read("apt.calls"))
	}
	if left, _ := filepath.Glob(filepath.Join(g.root, "usr/local/bin/*.new.*")); len(left) > 0 || g.read("run/fuseless/guest.xz.base64") != "" {
		t.Errorf("left over: %v", left)
	}
}

func TestProvisioningReplacesAnOlderBinary(t *testing.T) {
	g := newGuest(t, cases["linux"])
	g.write("usr/local/bin/fuseless-guest", "#!/bin/sh\necho older\n", 0o755)
	g.write("usr/local/bin/fuseless-guest.new.killed", "half", 0o600)
	running, err := os.Open(filepath.Join(g.root, templates.GuestFile))
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	if out, ok := g.boot(); !ok || g.read("usr/local/bin/fuseless-guest") != standIn {
		t.Errorf("not replaced: %s", out)
	}
	b := make([]byte, 64)
	if n, _ := running.Read(b); !strings.Contains(string(b[:n]), "older") {
		t.Errorf("the old file was written over: %q", b[:n])
	}
	if g.read("usr/local/bin/fuseless-guest.new.killed") != "" {
		t.Error("what a killed run left is still there")
	}
}

func TestFreshListsAreNotUpdated(t *testing.T) {
	g := newGuest(t, cases["linux"])
	g.write("var/lib/apt/lists/deb_trixie_main_binary-amd64_Packages", "", 0o644)
	if out, ok := g.boot(); !ok || strings.Contains(g.read("apt.calls"), "update") {
		t.Errorf("%s%s", out, g.read("apt.calls"))
	}
}

func TestFailureReachesTheProbe(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*guest)
		says   string
	}{
		"offline":        {func(g *guest) { g.write("offline", "", 0o644) }, "cannot install gocryptfs sshfs rsync fuse3 xz-utils: E: Failed to fetch update"},
		"sshd":           {func(g *guest) { g.write("bin/sshd", "#!/bin/sh\necho streamlocalbindunlink no\n", 0o755) }, "sshd does not read"},
		"damaged binary": {func(g *guest) { damage(g, "!!!") }, "cannot unpack the guest binary"},
		"no binary":      {func(g *guest) { g.y.Provision = g.y.Provision[:len(g.y.Provision)-1] }, "was not delivered"},
		"foreign binary": {func(g *guest) { g.y = load(g.t, foreign(g.t)) }, "the guest binary does not run on"},
		"full disk": {func(g *guest) {
			g.write("bin/xz", "#!/bin/sh\necho half; echo 'No space left on device' >&2; exit 1\n", 0o755)
		}, "is the disk full?"},
		"unforeseen": {func(g *guest) { g.write("bin/mktemp", "#!/bin/sh\nexit 3\n", 0o755) }, "cannot write to"},
	} {
		g := newGuest(t, cases["linux"])
		c.change(g)
		out, ok := g.boot()
		if ok {
			t.Errorf("%s: provisioned: %s", name, out)
		}
		if out, ok := g.probe(0); ok || !strings.Contains(out, "provisioning failed: ") || !strings.Contains(out, c.says) {
			t.Errorf("%s: the probe says %v %q", name, ok, out)
		}
		if left, _ := filepath.Glob(filepath.Join(g.root, "usr/local/bin/*")); len(left) > 0 {
			t.Errorf("%s: left over: %v", name, left)
		}
	}
	// A later boot that succeeds forgets the failure.
	g := newGuest(t, cases["linux"])
	g.write("offline", "", 0o644)
	g.boot()
	if strings.Count(g.read("apt.calls"), "update") != 3 {
		t.Errorf("not tried three times: %s", g.read("apt.calls"))
	}
	if err := os.Remove(filepath.Join(g.root, "offline")); err != nil {
		t.Fatal(err)
	}
	if out, ok := g.boot(); !ok {
		t.Errorf("back online: %s", out)
	}
	if out, ok := g.probe(0); !ok {
		t.Errorf("back online: %s", out)
	}
}

func damage(g *guest, content string) {
	for i, p := range g.y.Provision {
		if p.Mode == limayaml.ProvisionModeData {
			g.y.Provision[i].Content = &content
		}
	}
}

func foreign(t *testing.T) []byte {
	vm := cases["linux"]
	vm.Guest = packed(t, "\x7fELF of another machine")
	return render(t, vm)
}

func TestProgramsProbeNamesEverythingMissing(t *testing.T) {
	g := newGuest(t, cases["linux"])
	for _, name := range []string{"sshfs", "rsync", "fusermount3"} {
		g.write("bin/"+name, "#!/bin/sh\nexit 127\n", 0o755)
	}
	out, ok := g.probe(1, "GOCRYPTFS=v2.2.1")
	if ok {
		t.Error("satisfied")
	}
	for _, says := range []string{"gocryptfs 2.2.1 is too old: 2.3 is needed", "sshfs is missing", "rsync is missing", "fusermount3 is missing", "fuseless-guest is missing"} {
		if !strings.Contains(out, says) {
			t.Errorf("does not say %q: %s", says, out)
		}
	}
	for _, v := range []string{"2.3", "v2.4.0", "2.10.1", "3.0"} {
		if out, _ := g.probe(1, "GOCRYPTFS="+v); strings.Contains(out, "gocryptfs") {
			t.Errorf("%s: %s", v, out)
		}
	}
}

func TestMountsProbe(t *testing.T) {
	vm := cases["linux"]
	g := newGuest(t, vm)
	source := templates.MountPoint(vm.Sources[0])
	line := func(point, options string) string {
		return "36 35 98:0 / " + point + " " + options + " - fuse.sshfs :/x rw\n"
	}
	for name, c := range map[string]struct{ table, says string }{
		"good":          {line(source, "ro,nosuid") + line(templates.RestorePoint, "rw,nosuid"), ""},
		"no source":     {line(templates.RestorePoint, "rw") + line(source+"x", "ro"), source + " is not mounted"},
		"writable":      {line(source, "rw") + line(templates.RestorePoint, "rw"), source + " is mounted rw, not ro"},
		"read-only":     {line(source, "ro") + line(templates.RestorePoint, "ro"), "restore is mounted ro, not rw"},
		"nothing there": {"", "restore is not mounted"},
	} {
		g.write("mountinfo", c.table, 0o644)
		out, ok := g.probe(2, "FUSELESS_MOUNTINFO="+filepath.Join(g.root, "mountinfo"))
		if ok != (c.says == "") || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v %s", name, ok, out)
		}
	}
}

// sshfs refuses links that leave the source, unless it is asked not to; Lima
// cannot ask. The remote's sshfs is left as it is.
func TestSSHFSReadsAllLinks(t *testing.T) {
	g := newGuest(t, cases["linux"])
	var script string
	for _, p := range g.y.Provision {
		if p.Mode == limayaml.ProvisionModeDependency {
			script = p.Script
		}
	}
	front := filepath.Join(g.root, "usr/local/bin/sshfs")
	g.write("bin/apt-get", "#!/bin/sh\nexit 100\n", 0o755)
	if out, ok := g.run(script); !ok {
		t.Errorf("without a network: %s", out)
	}
	if _, err := os.Lstat(front); err == nil {
		t.Error("without sshfs there is something in front of it, and Lima does not install it")
	}
	for _, c := range []struct{ help, args, want string }{
		{"-o no_contain_symlinks", ":/src /mnt -o slave -o ro -o allow_other", ":/src /mnt -o slave -o ro -o allow_other -o no_contain_symlinks\n"},
		{"-o follow_symlinks", ":/src /mnt -o slave", ":/src /mnt -o slave\n"},
		{"-o no_contain_symlinks", "nas:vault /mnt -o ro", "nas:vault /mnt -o ro\n"},
	} {
		g.write("usr/bin/sshfs", "#!/bin/sh\n[ \"$1\" = -h ] && echo '"+c.help+"' || echo \"$*\"\n", 0o755)
		if out, ok := g.run(script); !ok {
			t.Fatal(out)
		}
		out, err := exec.Command(front, strings.Fields(c.args)...).CombinedOutput()
		if err != nil || string(out) != c.want {
			t.Errorf("sshfs %s, whose help has %q: %q, %v", c.args, c.help, out, err)
		}
	}
}

// Every script parses in the shell that its first line names. That of mode boot
// must survive Lima's trimming of its lines.
func TestScriptsParse(t *testing.T) {
	y := load(t, render(t, cases["three-vaults"]))
	scripts := map[string]string{}
	for _, p := range y.Probes {
		scripts[p.Description] = p.Script
	}
	for i, p := range y.Provision {
		if p.Mode == limayaml.ProvisionModeBoot && strings.Contains(p.Script, "<<") {
			t.Error("the boot script has a here-document")
		}
		if p.Script != "" {
			scripts[fmt.Sprint(p.Mode, i)] = p.Script
		}
	}
	if len(scripts) != 7 {
		t.Errorf("found %d scripts", len(scripts))
	}
	for name, script := range scripts {
		shell := strings.TrimPrefix(strings.SplitN(script, "\n", 2)[0], "#!")
		cmd := exec.Command(shell, "-n")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", name, err, out)
		}
		if strings.Contains(script, "LIMA_CIDATA") || strings.Contains(script, "{{") || strings.Contains(script, "\t") {
			t.Errorf("%s holds what Lima will not have:\n%s", name, script)
		}
	}
}
