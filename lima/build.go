package lima

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// module is Lima's path; go.mod pins its version.
const module = "github.com/lima-vm/lima"

// Build compiles limactl and the guest agent from the version that the go.mod
// of the checkout src pins, into a folder of cacheDir, or returns what is
// there already from the same pin. It takes a few minutes.
func Build(ctx context.Context, src, cacheDir string) (Tool, error) {
	version, sum, err := pin(src)
	if err != nil {
		return Tool{}, err
	}
	prefix := filepath.Join(cacheDir, buildName(version, sum))
	tool := Tool{Path: filepath.Join(prefix, "bin", "limactl"), Version: version}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return Tool{}, proto.Errorf(proto.NoSpace, "cannot make the cache folder: %w", err).WithHint("check that %s is yours and has room", cacheDir)
	}
	lock := flock.New(filepath.Join(cacheDir, "lock"))
	if _, err := lock.TryLockContext(ctx, time.Second); err != nil {
		return Tool{}, fmt.Errorf("lock %s: %w", cacheDir, err)
	}
	defer lock.Unlock()
	if _, err := os.Stat(prefix); err == nil {
		return tool, nil
	}
	// Built beside and renamed: what has its final name is complete.
	tmp, err := os.MkdirTemp(cacheDir, ".build-")
	if err != nil {
		return Tool{}, proto.Errorf(proto.NoSpace, "cannot write to the cache folder: %w", err).WithHint("check that %s is yours and has room", cacheDir)
	}
	defer os.RemoveAll(tmp)
	for _, b := range programs(runtime.GOARCH) {
		err := proc.Run(ctx, proc.Cmd{
			Argv: buildArgv(version, filepath.Join(tmp, b.file), b.pkg),
			Dir:  src,
			Env:  append([]string{"CGO_ENABLED=0", "GOFLAGS="}, b.env...),
		})
		if ctx.Err() != nil {
			return Tool{}, ctx.Err()
		}
		if err != nil {
			return Tool{}, proto.Errorf(proto.Prerequisite, "build %s %s: %w", filepath.Base(b.pkg), version, err).WithHint("%s", installHint)
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return Tool{}, err
	}
	removeBuilds(cacheDir)
	return tool, os.Rename(tmp, prefix)
}

// Built is the newest limactl that Build left in cacheDir, of whatever pin.
func Built(ctx context.Context, cacheDir string) (Tool, bool) {
	var newest Tool
	var when time.Time
	found, _ := filepath.Glob(filepath.Join(cacheDir, "lima-*"))
	for _, prefix := range found {
		fi, err := os.Stat(prefix)
		if err != nil || !fi.ModTime().After(when) {
			continue
		}
		if t, err := ToolIn(ctx, prefix); err == nil {
			newest, when = t, fi.ModTime()
		}
	}
	return newest, newest.Path != ""
}

// program is a part of Lima and its place below the prefix, where limactl
// looks for it (pkg/usrlocalsharelima).
type program struct {
	pkg, file string
	env       []string
}

func programs(goarch string) []program {
	return []program{
		{pkg: module + "/cmd/limactl", file: "bin/limactl"},
		{pkg: module + "/cmd/lima-guestagent", file: "share/lima/lima-guestagent.Linux-" + limaArch(goarch),
			env: []string{"GOOS=linux", "GOARCH=" + goarch}},
	}
}

// limaArch is how Lima, and QEMU, call an architecture of Go.
func limaArch(goarch string) string {
	switch goarch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return goarch
}

// buildArgv compiles pkg. Without its version limactl refuses templates that
// ask for a lowest one.
func buildArgv(version, out, pkg string) []string {
	return []string{"go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X " + module + "/pkg/version.Version=" + version, "-o", out, pkg}
}

// buildName tells one pin from another.
func buildName(version, sum string) string {
	h := sha256.Sum256([]byte(sum))
	return "lima-" + version + "-" + hex.EncodeToString(h[:4])
}

// pin is the version of Lima in src's go.mod, without the v, and its checksum
// in go.sum.
func pin(src string) (version, sum string, err error) {
	mod, err := os.ReadFile(filepath.Join(src, "go.mod"))
	if err != nil {
		return "", "", fmt.Errorf("read Lima's version: %w", err)
	}
	sums, err := os.ReadFile(filepath.Join(src, "go.sum"))
	if err != nil {
		return "", "", fmt.Errorf("read Lima's checksum: %w", err)
	}
	version = wordAfter(mod, module)
	if version == "" {
		return "", "", proto.Errorf(proto.Internal, "%s/go.mod does not require %s", src, module)
	}
	return strings.TrimPrefix(version, "v"), wordAfter(sums, module+" "+version), nil
}

// wordAfter is the word behind the words prefix of a line, or "".
func wordAfter(text []byte, prefix string) string {
	sc := bufio.NewScanner(bytes.NewReader(text))
	for sc.Scan() {
		line := strings.TrimPrefix(strings.TrimSpace(sc.Text()), "require ")
		if rest, ok := strings.CutPrefix(line, prefix+" "); ok && len(strings.Fields(rest)) > 0 {
			return strings.Fields(rest)[0]
		}
	}
	return ""
}

// removeBuilds removes the builds of other pins, and what killed runs left.
// A VM that still runs keeps its open binary.
func removeBuilds(cacheDir string) {
	for _, pattern := range []string{"lima-*", ".build-*"} {
		old, _ := filepath.Glob(filepath.Join(cacheDir, pattern))
		for _, d := range old {
			if fi, err := os.Stat(d); err == nil && time.Since(fi.ModTime()) > time.Hour {
				_ = os.RemoveAll(d)
			}
		}
	}
}
