// Package guestbin provides the guest binary: it is embedded in an installed
// `fuseless`, and built from the source when mage runs in a checkout.
package guestbin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/adrg/xdg"
	"github.com/google/renameio/v2"
	"github.com/ulikunitz/xz"
	"golang.org/x/sync/errgroup"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

//go:embed bin
var embedded embed.FS

// Arches are the architectures that a guest may have.
var Arches = []string{"amd64", "arm64"}

// Version is what the guest binaries that this process builds call themselves
// in `fuseless-guest version`. It is written before anything is built.
var Version = "devel"

func name(arch string) string { return "fuseless-guest-linux-" + arch }

// Embedded tells whether this program carries the guest binaries.
func Embedded() bool {
	_, err := embedded.Open("bin/" + name("amd64") + ".xz")
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

// Packed returns the guest binary for arch, compressed by xz: what the
// description of a VM carries.
func Packed(ctx context.Context, arch string) ([]byte, error) {
	if Embedded() {
		return embeddedPacked(arch)
	}
	src, err := Source()
	if err != nil {
		return nil, err
	}
	bin, err := Build(ctx, src, arch, cacheDir("dev"))
	if err != nil {
		return nil, err
	}
	file, err := pack(bin)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

func embeddedPacked(arch string) ([]byte, error) {
	packed, err := embedded.ReadFile("bin/" + name(arch) + ".xz")
	if err != nil {
		return nil, proto.Errorf(proto.Internal, "no guest binary for %s in this program: %w", arch, err)
	}
	return packed, nil
}

// Unpack is the reverse of what Packed does.
func Unpack(packed []byte) ([]byte, error) {
	z, err := xz.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack the guest binary: %w", err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("unpack the guest binary: %w", err)
	}
	return data, nil
}

// unpack writes the embedded binary to the cache, under a name that is its
// hash, so that a running one is never overwritten.
func unpack(arch string) (string, error) {
	packed, err := embeddedPacked(arch)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(packed)
	file := filepath.Join(cacheDir(hex.EncodeToString(sum[:8])), "fuseless-guest")
	if fi, err := os.Stat(file); err == nil && fi.Mode().Perm() == 0o755 {
		return file, nil
	}
	data, err := Unpack(packed)
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
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return proto.Errorf(proto.Config, "the cache folder may not be written: %w", err).
			WithHint("%s must be yours; or set XDG_CACHE_HOME to a folder that is", xdg.CacheHome)
	}
	return proto.Errorf(proto.NoSpace, "cannot write to the cache folder: %w", err).
		WithHint("make room on the disk of %s", xdg.CacheHome)
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
		Argv: []string{"go", "build", "-trimpath", "-buildvcs=false",
			// net/http brings TLS with it, which nothing here speaks: smaller is better there
			// than fast. See pack.
			"-gcflags=crypto/...=-l",
			// The server speaks HTTP/1.1, as do the clients that the systems have.
			"-tags", "nethttpomithttp2", "-ldflags", "-s -w -buildid= -X main.version=" + Version, "-o", tmp.Name(), "./guest"},
		Dir: src,
		Env: append(slices.Clone(sameEverywhere), "GOOS=linux", "GOARCH="+arch, "GOFLAGS="),
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
	packed := make([]string, len(Arches))
	var group errgroup.Group // packing takes seconds, and one processor
	for i, arch := range Arches {
		group.Go(func() error {
			bin, err := Build(ctx, src, arch, dir)
			if err == nil {
				packed[i], err = pack(bin)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for i, arch := range Arches {
		replace[filepath.Join(src, "magefiles", "guestbin", "bin", name(arch)+".xz")] = packed[i]
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, b, 0o600)
}

// pack compresses file beside itself, unless that is done; the same input gives
// the same bytes. xz, since Lima takes no description of more than 4 MiB, and
// gzip makes one of 4.1.
func pack(file string) (string, error) {
	packed := file + ".xz"
	if _, err := os.Stat(packed); err == nil {
		return packed, nil // its name has the hash of what is in it
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	z, err := xz.WriterConfig{DictCap: 16 << 20}.NewWriter(&out)
	if err != nil {
		return "", err
	}
	_, err = z.Write(data)
	if err := errors.Join(err, z.Close()); err != nil {
		return "", err
	}
	if err := renameio.WriteFile(packed, out.Bytes(), 0o644); err != nil {
		return "", cacheError(err)
	}
	return packed, nil
}
