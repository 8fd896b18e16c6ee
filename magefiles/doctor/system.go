package doctor

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"time"

	"github.com/adrg/xdg"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/guest/rundir"
	"fuseless/guest/store"
	"fuseless/lima"
	"fuseless/magefiles/bridge"
	"fuseless/magefiles/evicted"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/hostmount"
	"fuseless/magefiles/prereq"
	"fuseless/magefiles/privilege"
)

// system is what doctor asks this machine; tests have another.
type system struct {
	goos       string
	euid       int
	now        func() time.Time
	needs      func(context.Context, []prereq.Need) []prereq.Status
	mend       func([]prereq.Status) string
	installed  func(program string) (path string, ok bool)
	root       func(context.Context) error // commands can be run as root without a password
	needQEMU   func() error
	qemu       func(context.Context) (version string)
	limactl    func(ctx context.Context, prefix string) (lima.Tool, toolState, error)
	accelerate func(context.Context) lima.Acceleration
	free       func(dir string) (bytes int64, known bool)
	listen     func(port int) error // nil if the port on loopback is free
	mounted    func(mountpoint string) (source string, ok bool, err error)
	dirs       func() ([]folder, error)
	lstat      evicted.Lstat // nil: there is no such thing here
	remote     func(context.Context, bridge.Remote, proto.Destination) *proto.RemoteProbe
}

// folder is a folder that must have room.
type folder struct{ what, path string }

func realSystem() *system {
	return &system{
		goos:  runtime.GOOS,
		euid:  os.Geteuid(),
		now:   time.Now,
		needs: prereq.Check,
		mend:  prereq.Mend,
		installed: func(program string) (string, bool) {
			p, err := privilege.LookPath(program)
			return p, err == nil
		},
		root:       privilege.Check,
		needQEMU:   lima.NeedQEMU,
		qemu:       qemuVersion,
		limactl:    findLimactl,
		accelerate: lima.Accelerate,
		free:       store.FreeOn,
		listen:     tryPort,
		mounted:    hostmount.Mounted,
		remote:     probeFromHost,
		dirs:       ownFolders,
		lstat:      evicted.System,
	}
}

// ownFolders are where fuseless keeps things on this machine.
func ownFolders() ([]folder, error) {
	state, err := rundir.StateDir("instance", "vault")
	if err != nil {
		return nil, err
	}
	return []folder{{"state folder", filepath.Dir(state)}, {"cache folder", filepath.Join(xdg.CacheHome, "fuseless")}}, nil
}

// toolState is where limactl is.
type toolState int

const (
	nowhere   toolState = iota // it is not there, and cannot be built
	installed                  // where the configuration says, or on this machine
	built                      // in the cache
	buildable                  // from this checkout
)

// findLimactl looks for limactl as `up` does, and builds none. prefix is
// `vm.tools`. With an error, nowhere says that it is missing, and any other
// state that it does not fit.
func findLimactl(ctx context.Context, prefix string) (lima.Tool, toolState, error) {
	if prefix != "" {
		t, err := lima.ToolIn(ctx, prefix)
		if _, serr := os.Stat(filepath.Join(prefix, "bin", "limactl")); serr != nil {
			return t, nowhere, err
		}
		return t, installed, err
	}
	t, err := lima.Find(ctx)
	if err == nil || lima.Installed() {
		return t, installed, err
	}
	if runtime.GOOS == "darwin" {
		return t, nowhere, err
	}
	builds, _ := filepath.Glob(filepath.Join(xdg.CacheHome, "fuseless", "lima", "lima-*"))
	for _, b := range builds {
		if t, err := lima.ToolIn(ctx, b); err == nil {
			return t, built, nil
		}
	}
	if _, serr := guestbin.Source(); serr == nil {
		return t, buildable, nil
	}
	return t, nowhere, err
}

var qemuLine = regexp.MustCompile(`(?m)^QEMU emulator version (\S+)`)

func qemuVersion(ctx context.Context) string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	path, err := privilege.LookPath("qemu-system-" + arch)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, _ := proc.Output(ctx, proc.Cmd{Argv: []string{path, "--version"}})
	if m := qemuLine.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return ""
}

// tryPort listens for a moment, as the guest or Lima would.
func tryPort(port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("port %d: %w", port, err)
	}
	return l.Close()
}
