package hostmount

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// macOS mounts with its own /sbin/mount_webdav. Nothing in this file needs a
// Mac: mount_darwin.go runs it with the real system, the tests with a recorder.

// credentialsFD is where mount_webdav finds its credentials: the first
// descriptor after standard error.
const credentialsFD = 3

// macMountArgv is the command that mounts spec.
//
//   - -a FD: the credentials; see macCredentials. Not -i, which needs a terminal,
//     and not the keychain, which ignores the port and would outlive the session.
//   - -S: no dialogs, and no quota query, on which macOS 15.4 and later stall.
//   - no -s: it demands more than Basic over http, which is what a server on
//     loopback speaks.
//   - -o: rdonly for a backup; nosuid and nodev, which the kernel forces upon an
//     ordinary user's mount anyway. Not nobrowse: the volume is for the Finder
//     to show, and together with -S it would also make the mount a "mirrored"
//     one, with short timeouts (webdavfs, mount_webdav's main).
//   - -v: what the Finder calls the volume.
func macMountArgv(spec Spec) []string {
	opts := "nosuid,nodev"
	if spec.ReadOnly {
		opts = "rdonly," + opts
	}
	argv := []string{"/sbin/mount_webdav", "-S", "-a", fmt.Sprint(credentialsFD), "-o", opts}
	if name := volumeName(spec.Vault); name != "" {
		argv = append(argv, "-v", name)
	}
	return append(argv, spec.URL, spec.Mountpoint)
}

// volumeName is vault as a volume may be called: without / and :, which the
// Finder and the file system each take for a separator, not beginning with
// an option's -, and at most 255 bytes (NAME_MAX).
func volumeName(vault string) string {
	s := strings.TrimLeft(strings.Map(func(r rune) rune {
		if r == '/' || r == ':' || r < ' ' {
			return '-'
		}
		return r
	}, vault), "-")
	if len(s) > 255 {
		s = strings.ToValidUTF8(s[:255], "")
	}
	return s
}

// macCredentials is what mount_webdav -a reads: user, password, proxy user and
// proxy password, each a big-endian uint32 length and the bytes (undocumented;
// webdavfs, mount_webdav's main, case 'a').
func macCredentials(user string, password []byte) []byte {
	var b []byte
	for _, field := range [][]byte{[]byte(user), password, nil, nil} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	return b
}

// credentialsFile is an open file in dir that holds b and has no name: it is
// unlinked before anything is written. It is not a pipe, because mount_webdav
// seeks to its beginning, and overwrites it with zeros once it has read it.
func credentialsFile(dir string, b []byte) (*os.File, error) {
	f, err := os.CreateTemp(dir, "hostmount-*") // mode 0600
	if err != nil {
		return nil, err
	}
	if err = os.Remove(f.Name()); err == nil {
		_, err = f.Write(b)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// macSystem is what the macOS mount needs of the system.
type macSystem struct {
	// run runs argv to its end; files become its descriptors 3, 4, ...
	run     func(ctx context.Context, argv []string, files ...*os.File) error
	mounted func(mountpoint string) (source string, ok bool, err error)
}

func (sys macSystem) mount(ctx context.Context, spec Spec) error {
	b := macCredentials(spec.User, spec.Password)
	f, err := credentialsFile(spec.RuntimeDir, b)
	clear(b)
	if err != nil {
		return proto.Errorf(proto.Mount, "handing over the session's password: %w", err)
	}
	defer f.Close()
	if err := sys.run(ctx, macMountArgv(spec), f); err != nil {
		if ended(err) {
			return err
		}
		return proto.Errorf(proto.Mount, "mounting %s on %s: %w", spec.URL, spec.Mountpoint, err)
	}
	return nil
}

// unmount needs not wait for uploads, nor look for what did not arrive: webdavfs
// uploads a file in the close(2), fsync(2) or munmap(2) of its writer, who waits
// for the server's answer (Apple's webdavfs, 2014, webdav_vnops.c,
// webdav_close_mnomap and webdav_fsync), and umount without force fails with
// EBUSY while anything is open (webdav_vfsops.c, webdav_unmount). There is no
// queue, no second try and no lost+found: a file that the server refused is an
// error of the writer's fsync. Of his close it is none: webdav_vnop_close drops
// it, so that nobody can be told here either. Unmounting by force is what
// discards the files that are open.
func (sys macSystem) unmount(ctx context.Context, spec Spec, mounted bool) (warning string, err error) {
	for mounted {
		short, cancel := context.WithTimeout(ctx, umountDeadline)
		err := sys.run(short, []string{"/sbin/umount", spec.Mountpoint})
		cancel()
		if err != nil && spec.Force {
			err = sys.run(ctx, []string{"/usr/sbin/diskutil", "unmount", "force", spec.Mountpoint})
			if !spec.ReadOnly {
				warning = "unmounted by force: what programs had open in " + spec.Mountpoint + " and had not closed is lost; save it anew from there"
			}
		}
		var lerr error
		if _, mounted, lerr = sys.mounted(spec.Mountpoint); lerr != nil {
			return warning, lerr
		}
		switch {
		case !mounted:
		case ctx.Err() != nil:
			return warning, ctx.Err()
		case err == nil: // another mount lay beneath
		case strings.Contains(strings.ToLower(proc.Stderr(err)), "resource busy"), ended(err):
			return warning, proto.Errorf(proto.Busy, "%s is in use: %w", spec.Mountpoint, err).
				WithHint("close what is open there (lsof +f -- %q names it), or run `fuseless down`", spec.Mountpoint)
		default:
			return warning, proto.Errorf(proto.Mount, "unmounting %s: %w", spec.Mountpoint, err)
		}
	}
	return warning, nil
}
