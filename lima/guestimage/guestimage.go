// Package guestimage makes a Debian guest image from packages, where no cloud
// image can be downloaded: for the tests with a real VM.
package guestimage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// Suite is the Debian release in the image.
const Suite = "bookworm"

// version is counted up when what this package does to the image changes.
const version = "5"

// label is of the root file system; ext4 has room for 16 characters.
const label = "fuseless-root"

// fsSize is the size of the file system as built, in MiB: the file is sparse,
// and the guest grows it to its disk at the first boot.
const fsSize = 2048

// HostPackages are the Debian packages that Build needs on the host. It does
// not install them.
var HostPackages = []string{"mmdebstrap", "e2fsprogs", "qemu-utils", "debian-archive-keyring"}

// Packages are what the image holds besides apt and the essential packages.
// gocryptfs, sshfs, fuse3 and rsync are not in it: the guest installs them.
func Packages() []string {
	return []string{
		"linux-image-cloud-" + runtime.GOARCH, "initramfs-tools", "kmod", "udev",
		"systemd-sysv", "systemd-resolved", "dbus", "libpam-systemd",
		"cloud-init", "netplan.io", "iproute2",
		"tzdata",   // for Lima's time zone
		"iptables", // Lima would install it before anything else
		"openssh-server", "sudo", "procps", "e2fsprogs", "ca-certificates",
	}
}

// Image is what a template needs to boot without a boot loader.
type Image struct {
	Disk    string // qcow2 of an ext4 file system, not partitioned
	Kernel  string
	Initrd  string
	Cmdline string // of the kernel
}

// Build makes the image below cacheDir, or returns the one that is there
// already and was made in this week from the same packages and sources. Of
// others only this one is kept. It reports on out what takes long. Everybody
// may read what it makes, as far as cacheDir itself lets them.
//
// It needs root, by itself or by a sudo that does not ask, and HostPackages;
// without these its error is a *proto.Error with code Prerequisite.
func Build(ctx context.Context, cacheDir string, out io.Writer) (Image, error) {
	if runtime.GOOS != "linux" {
		return Image{}, proto.Errorf(proto.Prerequisite, "a guest image can only be made on Linux").
			WithHint("leave `image` out: a cloud image is downloaded then")
	}
	src := hostSources()
	id := key(src, time.Now())
	dir := filepath.Join(cacheDir, id)
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return Image{}, fmt.Errorf("make the cache folder: %w", err)
	}
	lock := flock.New(filepath.Join(cacheDir, "lock"))
	if _, err := lock.TryLockContext(ctx, time.Second); err != nil {
		return Image{}, fmt.Errorf("lock the cache folder %s: %w", cacheDir, err)
	}
	defer lock.Unlock()
	if _, err := os.Stat(dir); err == nil {
		return imageIn(dir), nil
	}
	if err := need(); err != nil {
		return Image{}, err
	}
	fmt.Fprintf(out, "making a Debian %s guest image from packages; it is kept in %s\n", Suite, dir)
	tmp := dir + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return Image{}, err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(tmp)
	if err := build(ctx, tmp, src, out); err != nil {
		return Image{}, err
	}
	removeOthers(cacheDir, tmp)
	return imageIn(dir), os.Rename(tmp, dir)
}

// key names an image by all that makes it what it is. Packages get security
// updates, so an image is made anew each week.
func key(src sources, now time.Time) string {
	y, w := now.UTC().ISOWeek()
	h := sha256.New()
	fmt.Fprintln(h, version, Suite, runtime.GOARCH, label, fsSize, y, w)
	fmt.Fprintln(h, strings.Join(Packages(), " "))
	fmt.Fprintln(h, src.list())
	fmt.Fprintln(h, src.aptConf())
	for _, ca := range src.CAs {
		fmt.Fprintf(h, "%x\n", sha256.Sum256(ca.Data))
	}
	return fmt.Sprintf("image-%s-%d-%02d-%s", Suite, y, w, hex.EncodeToString(h.Sum(nil)[:6]))
}

func imageIn(dir string) Image {
	console := "ttyS0"
	if runtime.GOARCH == "arm64" {
		console = "ttyAMA0"
	}
	return Image{
		Disk:   filepath.Join(dir, "disk.qcow2"),
		Kernel: filepath.Join(dir, "vmlinuz"),
		Initrd: filepath.Join(dir, "initrd.img"),
		// ds=nocloud: cloud-init does not look for other clouds.
		Cmdline: "root=LABEL=" + label + " ro console=" + console + " net.ifnames=0 ds=nocloud",
	}
}

// build makes the files of the image in dir.
func build(ctx context.Context, dir string, src sources, out io.Writer) error {
	files := filepath.Join(dir, "files.tar")
	if err := writeTar(files, overlay(src)); err != nil {
		return fmt.Errorf("write %s: %w", files, err)
	}
	list := filepath.Join(dir, "sources.list")
	if err := os.WriteFile(list, []byte(src.list()), 0o644); err != nil {
		return err
	}
	root := filepath.Join(dir, "root")
	// It holds what only root may remove.
	defer func() {
		if err := asRoot(context.WithoutCancel(ctx), "rm", "-rf", "--one-file-system", "--", root); err != nil {
			fmt.Fprintf(out, "  %v\n", err)
		}
	}()
	begin := time.Now()
	if err := asRoot(ctx, mmdebstrapArgv(root, list, files, src)...); err != nil {
		return fmt.Errorf("make the guest's file tree: %w", err)
	}
	fmt.Fprintf(out, "  packages installed after %.0f s\n", time.Since(begin).Seconds())
	img := imageIn(dir)
	begin = time.Now()
	raw := filepath.Join(dir, "disk.raw")
	err := asRoot(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-d", root, raw, fmt.Sprintf("%dM", fsSize))
	if err != nil {
		return fmt.Errorf("make the guest's file system: %w", err)
	}
	// Lima copies the disk for each instance, and would fill the holes of a
	// raw one.
	if err := asRoot(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, img.Disk); err != nil {
		return fmt.Errorf("convert the guest's disk: %w", err)
	}
	if err := asRoot(ctx, "rm", "-f", "--", raw); err != nil {
		return err
	}
	for pattern, to := range map[string]string{"vmlinuz-*": img.Kernel, "initrd.img-*": img.Initrd} {
		found, _ := filepath.Glob(filepath.Join(root, "boot", pattern))
		if len(found) != 1 {
			return fmt.Errorf("the guest has %d files boot/%s, not one", len(found), pattern)
		}
		if err := asRoot(ctx, "cp", "--", found[0], to); err != nil {
			return err
		}
	}
	if err := asRoot(ctx, "chown", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()), "--", img.Disk, img.Kernel, img.Initrd); err != nil {
		return err
	}
	for _, f := range []string{img.Disk, img.Kernel, img.Initrd} {
		if err := os.Chmod(f, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "  file system made after %.0f s\n", time.Since(begin).Seconds())
	return os.Remove(files)
}

// need says what is missing for a build.
func need() error {
	for i, program := range []string{"mmdebstrap", "mke2fs", "qemu-img"} {
		if lookPath(program) == "" {
			return proto.Errorf(proto.Prerequisite, "%s is not installed; it makes the guest image", program).
				WithHint("sudo apt-get install %s", HostPackages[i])
		}
	}
	if _, err := os.Stat(keyring); err != nil {
		return proto.Errorf(proto.Prerequisite, "Debian's archive keys are not installed; they sign the guest's packages").
			WithHint("sudo apt-get install %s", HostPackages[3])
	}
	return nil
}

// lookPath also looks where Debian gives ordinary users no PATH; "" if there
// is no such program.
func lookPath(program string) string {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin", "/usr/bin", "/bin") {
		p := filepath.Join(dir, program)
		if fi, err := os.Stat(p); filepath.IsAbs(dir) && err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// asRoot runs argv as root.
func asRoot(ctx context.Context, argv ...string) error {
	if p := lookPath(argv[0]); p != "" {
		argv[0] = p
	}
	if os.Geteuid() != 0 {
		argv = append([]string{"sudo", "-n", "--"}, argv...)
	}
	err := proc.Run(ctx, proc.Cmd{Argv: argv})
	if err != nil && argv[0] == "sudo" && strings.Contains(proc.Stderr(err), "password is required") {
		return proto.Errorf(proto.Prerequisite, "making a guest image needs root, and sudo asks for a password").
			WithHint("run it as root")
	}
	return err
}

// removeOthers removes the images of other weeks and versions.
func removeOthers(cacheDir, but string) {
	old, _ := filepath.Glob(filepath.Join(cacheDir, "image-*"))
	for _, d := range old {
		if d != but {
			_ = os.RemoveAll(d)
		}
	}
}
