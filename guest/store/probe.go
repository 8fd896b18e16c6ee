package store

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"

	"fuseless/guest/proto"
	"fuseless/guest/remote"
)

// configName is gocryptfs's file in the root of a vault.
const configName = "gocryptfs.conf"

// Probe looks whether d can be reached by sftp and by rsync, and how much room
// is there. It changes nothing.
func Probe(ctx context.Context, d proto.Destination) *proto.RemoteProbe {
	p := &proto.RemoteProbe{Free: -1}
	st, err := Open(ctx, d)
	if err != nil {
		p.Error = proto.NewProbeError(proto.Remote, err)
		return p
	}
	defer st.Close()
	fi, err := st.Lstat(d.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// As the backup has it: above the vault may be where a disk is to be mounted.
		if _, err := st.Lstat(path.Dir(d.Path)); err != nil && d.Local {
			p.Error = proto.NewProbeError(proto.Vault, proto.Errorf(proto.Vault, "there is no folder %s", path.Dir(d.Path)).
				WithHint("is its disk mounted? if so, make the folder by hand"))
			return p
		}
	case err != nil:
		p.Error = proto.NewProbeError(proto.Remote, proto.Errorf(proto.Remote, "cannot look at %s: %w", d.Label, err).
			WithHint("check that you may read it there"))
		return p
	case !fi.IsDir():
		p.Error = proto.NewProbeError(proto.Vault, proto.Errorf(proto.Vault, "%s is not a folder", d.Label).
			WithHint("choose another destination"))
		return p
	default:
		p.Exists = true
		fi, err := st.Lstat(path.Join(d.Path, configName))
		p.Vault = err == nil && fi.Mode().IsRegular() && fi.Size() > 0
	}
	if free, known := Free(st, d.Path); known {
		p.Free = free
	}
	if d.Local {
		return p
	}
	if p.Rsync, err = remote.Greet(ctx, d.Socket, d.Target, d.SSH); err != nil {
		p.RsyncError = proto.NewProbeError(proto.Remote, err)
	}
	return p
}

// statvfs is OpenSSH's extension of sftp that tells the size of a file system
// (OpenSSH's PROTOCOL, section 4.4). Not every server has it.
const statvfs = "statvfs@openssh.com"

// FreeOn is Free for a folder of this machine, which need not exist.
func FreeOn(dir string) (bytes int64, known bool) { return Free(local{}, dir) }

// Free is how many bytes an ordinary user may still write to the file system
// on which name lies, or will lie when it is made. known is false where the
// server does not tell.
func Free(f FS, name string) (bytes int64, known bool) {
	for {
		_, err := f.Lstat(name)
		if err == nil {
			break
		}
		up := path.Dir(name)
		if !errors.Is(err, fs.ErrNotExist) || up == name {
			return 0, false
		}
		name = up
	}
	switch s := f.(type) {
	case *sftpFS:
		if _, ok := s.s.HasExtension(statvfs); !ok {
			return 0, false
		}
		st, err := s.s.StatVFS(name)
		if err != nil || st.Blocks == 0 { // some network file systems answer with zeros
			return 0, false
		}
		return int64(st.Bavail * st.Frsize), true
	case local:
		var st unix.Statfs_t
		if err := unix.Statfs(name, &st); err != nil || st.Blocks == 0 {
			return 0, false
		}
		return int64(uint64(st.Bavail) * uint64(st.Bsize)), true
	}
	return 0, false
}
