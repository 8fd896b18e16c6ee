// Package guestbin provides the guest binary: it is embedded in an installed
// `fuseless`, and built from the source when mage runs in a checkout.
package guestbin

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/adrg/xdg"
	"github.com/google/renameio/v2"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

//go:embed bin
var embedded embed.FS

// Arches are the architectures that a guest may have.
var Arches = []string{"amd64", "arm64"}

func name(arch string) string { return "fuseless-guest-linux-" + arch }

// Embedded tells whether this program carries the guest binaries.
func Embedded() bool {
	_, err := embedded.Open("bin/" + name("amd64") + ".gz")
	return err == nil
}

// Path returns a guest binary for this machine's architecture, in the cache.
func Path(ctx context.Context) (string, error) {
	if Embedded() {
		return unpack(runtime.GOARCH)
	}
	src, err := Source()
	if err != nil {
		return "", err
	}
	return Build(ctx, src, runtime.GOARCH, cacheDir("dev"))
}

// cacheDir is a folder of ours in the cache folder.
func cacheDir(sub string) string { return filepath.Join(xdg.CacheHome, "fuseless", "guest", sub) }

// unpack writes the embedded binary to the cache, under a name that is its
// hash, so that a running one is never overwritten.
func unpack(arch string) (string, error) {
	packed, err := embedded.ReadFile("bin/" + name(arch) + ".gz")
	if err != nil {
		return "", proto.Errorf(proto.Internal, "no guest binary for %s in this program: %w", arch, err)
	}
	sum := sha256.Sum256(packed)
	file := filepath.Join(cacheDir(hex.EncodeToString(sum[:8])), "fuseless-guest")
	if fi, err := os.Stat(file); err == nil && fi.Mode().Perm() == 0o755 {
		return file, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(z)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", cacheError(err)
	}
	if err := renameio.WriteFile(file, data, 0o755); err != nil {
		return "", cacheError(err)
	}
	return file, nil
}

func cacheError(err error) error {
	return proto.Errorf(proto.NoSpace, "cannot write to the cache folder: %w", err).
		WithHint("check that %s is yours and has room", xdg.CacheHome)
}

// Source is the root of the checkout that mage runs in.
func Source() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		b, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil && bytes.HasPrefix(b, []byte("module fuseless\n")) {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", proto.Errorf(proto.Prerequisite, "this needs the source of fuseless, and %s is not in it", dir).
				WithHint("change to a checkout of fuseless, or use an installed `fuseless`, which carries all it needs")
		}
	}
}

// Build compiles the guest for arch into dir and returns its path. It is
// static and reproducible. An unchanged binary is not written again, since it
// may be running.
func Build(ctx context.Context, src, arch, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", cacheError(err)
	}
	tmp, err := os.CreateTemp(dir, "build-")
	if err != nil {
		return "", cacheError(err)
	}
	tmp.Close()
	defer os.Remove(tmp.Name())
	err = proc.Run(ctx, proc.Cmd{
		Argv: []string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", tmp.Name(), "./guest"},
		Dir:  src,
		Env:  []string{"GOOS=linux", "GOARCH=" + arch, "CGO_ENABLED=0", "GOFLAGS="},
	})
	if err != nil {
		return "", fmt.Errorf("build the guest binary: %w", err)
	}
	data, err := os.ReadFile(tmp.Name())
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	file := filepath.Join(dir, name(arch)+"-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	removeOld(dir, arch)
	if err := os.Chmod(tmp.Name(), 0o755); err != nil {
		return "", err
	}
	return file, os.Rename(tmp.Name(), file)
}

// removeOld removes builds of more than a week ago. Newer ones may be what a
// mounted sshfs calls to reconnect.
func removeOld(dir, arch string) {
	old, _ := filepath.Glob(filepath.Join(dir, name(arch)+"-*"))
	for _, f := range old {
		if fi, err := os.Stat(f); err == nil && time.Since(fi.ModTime()) > 7*24*time.Hour {
			_ = os.Remove(f)
		}
	}
}

// Overlay builds the guests and writes an overlay file for `go build` that
// embeds them. It returns the path of the file, below dir.
func Overlay(ctx context.Context, src, dir string) (string, error) {
	replace := map[string]string{}
	for _, arch := range Arches {
		bin, err := Build(ctx, src, arch, dir)
		if err != nil {
			return "", err
		}
		packed, err := pack(bin)
		if err != nil {
			return "", err
		}
		replace[filepath.Join(src, "magefiles", "guestbin", "bin", name(arch)+".gz")] = packed
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, b, 0o600)
}

// pack compresses file beside itself; the same input gives the same bytes.
func pack(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return "", err
	}
	_, err = z.Write(data)
	if err := errors.Join(err, z.Close()); err != nil {
		return "", err
	}
	return file + ".gz", os.WriteFile(file+".gz", out.Bytes(), 0o644)
}
