package guestimage

import (
	"archive/tar"
	"os"
	"path"
	"time"

	"github.com/kballard/go-shellquote"
)

// file is a file that is put into the tree
// after the packages.
type file struct {
	Path string // relative to the root
	Data string
}

// overlay are the files that make a file tree a guest of Lima.
func overlay(src sources) []file {
	files := []file{
		{Path: "etc/fstab", Data: "LABEL=" + label + " / ext4 defaults,errors=remount-ro,x-systemd.growfs 0 1\n"},
		{Path: "etc/hostname", Data: "localhost\n"}, // cloud-init sets it
		{Path: "etc/apt/sources.list", Data: src.list()},
		// Without it cloud-init looks for other clouds, and warns.
		{Path: "etc/cloud/cloud.cfg.d/90_fuseless.cfg", Data: "datasource_list: [NoCloud, None]\n" +
			// The sources are the host's; cloud-init would write its own.
			"apt: {preserve_sources_list: true}\n" +
			// C.UTF-8 is built in; another would have to be generated.
			"locale: false\n"},
		// The kernel and its initrd lie outside of the image. Without this, fuse3
		// makes a new one, which takes minutes without KVM.
		{Path: "etc/initramfs-tools/update-initramfs.conf", Data: "update_initramfs=no\nbackup_initramfs=no\n"},
		{Path: "etc/hosts", Data: "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"}, // Lima edits it
		{Path: "etc/default/locale", Data: "LANG=C.UTF-8\n"},
	}
	// Nobody reads descriptions there; they are half of what `apt-get update` gets.
	conf := src.aptConf() + "Acquire::Languages \"none\";\n"
	files = append(files, file{Path: "etc/apt/apt.conf.d/90fuseless", Data: conf})
	for _, ca := range src.CAs {
		files = append(files, file{Path: path.Join("usr/local/share/ca-certificates", ca.Name), Data: string(ca.Data)})
	}
	return files
}

// writeTar writes files as root's, to name.
func writeTar(name string, files []file) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, file := range files {
		h := &tar.Header{Name: file.Path, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(file.Data)), ModTime: time.Now()}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write([]byte(file.Data)); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

// mmdebstrapArgv makes the tree root of the packages and of the archive files.
// A hook is one line that a shell, or mmdebstrap itself, splits.
func mmdebstrapArgv(root, list, files string, src sources) []string {
	argv := []string{"mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--format=directory"}
	for _, p := range Packages() {
		argv = append(argv, "--include="+p)
	}
	for _, o := range src.Options {
		argv = append(argv, "--aptopt="+o.Name+` "`+o.Value+`"`)
	}
	return append(argv,
		// A guest that nobody reads manuals in boots from a smaller image.
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--customize-hook="+shellquote.Join("tar-in", files, "/"),
		`--customize-hook=chroot "$1" update-ca-certificates`,
		// An empty one is filled at the first boot (machine-id(5)).
		`--customize-hook=: >"$1/etc/machine-id"; rm -f "$1/var/lib/dbus/machine-id"`,
		`--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*`,
		`--customize-hook=ln -sf ../run/systemd/resolve/stub-resolv.conf "$1/etc/resolv.conf"`,
		// mmdebstrap's own options for apt and dpkg are of no use in the guest.
		`--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"`,
		Suite, root, list)
}
