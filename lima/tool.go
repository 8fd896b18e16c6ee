// Package lima drives the guest VM with limactl: it finds or builds limactl,
// creates the VM, starts, converges, stops and deletes it, and reaches into it
// over ssh.
package lima

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// failed is the exit code of a VM that could not be made or started.
const failed = proto.Guest

// Tool is a limactl.
type Tool struct {
	Path    string // absolute
	Version string // as it calls itself, such as "1.2.2"
}

var versionLine = regexp.MustCompile(`(?m)^limactl version v?(\S+)`)

// Find returns the limactl that is installed: on PATH, or where Homebrew puts
// it. From 1.1 to 2.x it is used as it is. The error is a *proto.Error with
// code Prerequisite if there is none, or if its version is another.
func Find(ctx context.Context) (Tool, error) {
	path := lookPath("limactl")
	if path == "" {
		return Tool{}, proto.Errorf(proto.Prerequisite, "limactl is not installed; it runs the VM").WithHint("%s", installHint)
	}
	return toolAt(ctx, path)
}

// Installed says whether there is any limactl, of whatever version.
func Installed() bool { return lookPath("limactl") != "" }

// ToolIn is the limactl of the folder prefix, whose share/lima has the guest
// agents. Its errors are Find's.
func ToolIn(ctx context.Context, prefix string) (Tool, error) {
	path := filepath.Join(prefix, "bin", "limactl")
	if _, err := os.Stat(path); err != nil {
		return Tool{}, proto.Errorf(proto.Prerequisite, "there is no limactl in %s: %w", prefix, err).WithHint("correct `vm: {tools: …}`, or leave it out")
	}
	return toolAt(ctx, path)
}

func toolAt(ctx context.Context, path string) (Tool, error) {
	out, err := proc.Output(ctx, proc.Cmd{Argv: []string{path, "--version"}})
	if err != nil {
		return Tool{}, proto.Errorf(proto.Prerequisite, "%s does not run: %w", path, err).WithHint("%s", installHint)
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return Tool{}, proto.Errorf(proto.Prerequisite, "%s does not tell its version: %q", path, out).WithHint("%s", installHint)
	}
	t := Tool{Path: path, Version: string(m[1])}
	return t, t.check()
}

// check refuses a version that is not known to work.
func (t Tool) check() error {
	major, minor, ok := majorMinor(t.Version)
	switch {
	case !ok:
		return proto.Errorf(proto.Prerequisite, "%s has no release version: %q", t.Path, t.Version).WithHint("%s", installHint)
	case major < 1 || major == 1 && minor < 1:
		return proto.Errorf(proto.Prerequisite, "%s is version %s; the oldest that works is 1.1", t.Path, t.Version).WithHint("%s", upgradeHint)
	case major > 2:
		return proto.Errorf(proto.Prerequisite, "%s is version %s; this fuseless knows Lima up to 2.x", t.Path, t.Version).
			WithHint("use a newer fuseless, or an older Lima")
	}
	return nil
}

// majorMinor are the first two numbers of a version such as "2.0.0-beta.1".
func majorMinor(version string) (major, minor int, ok bool) {
	m := regexp.MustCompile(`^v?(\d+)\.(\d+)`).FindStringSubmatch(version)
	if m == nil {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(m[1])
	minor, err2 := strconv.Atoi(m[2])
	return major, minor, err1 == nil && err2 == nil
}

// systemDirs are searched after PATH: a target that was not started from a
// terminal lacks Homebrew's folders, and an ordinary user of Debian the sbins.
var systemDirs = []string{"/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"}

// lookPath is the absolute path of a program, or "". Relative entries of PATH
// are not followed.
func lookPath(program string) string {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), systemDirs...) {
		p := filepath.Join(dir, program)
		if fi, err := os.Stat(p); filepath.IsAbs(dir) && err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}
