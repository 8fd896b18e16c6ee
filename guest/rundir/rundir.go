// Package rundir is where things live that must not outlive the machine's
// uptime: mount points, sockets, session secrets, pid files.
package rundir

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"fuseless/guest/proto"
)

// Instance tells the configurations of one user apart: two files may both name
// a vault "photos". It is 8 hexadecimal digits of the SHA-256 of the path of
// the configuration file; short, because unix sockets live below it (sun_path
// holds 108 bytes on Linux and 104 on macOS, unix(7)).
func Instance(configFile string) string {
	sum := sha256.Sum256([]byte(configFile))
	return hex.EncodeToString(sum[:4])
}

// Path is the folder of a vault, without making it.
func Path(instance, vault string) (string, error) {
	base, err := base()
	if err != nil {
		return "", err
	}
	return filepath.Join(base, instance, vault), nil
}

// Make makes the folder of a vault, mode 0700, and checks that it and what is
// above it is ours and nobody else's: its base may lie in a folder where
// others can write, such as /dev/shm.
func Make(instance, vault string) (dir string, err error) {
	for range 5 {
		// Another process that ends may remove empty folders between two of ours.
		if dir, err = makeOnce(instance, vault); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return dir, err
}

func makeOnce(instance, vault string) (string, error) {
	base, err := base()
	if err != nil {
		return "", err
	}
	dir := base
	for _, p := range []string{"", instance, vault} {
		dir = filepath.Join(dir, p)
		if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
			return "", Error(dir, "cannot make the runtime folder", err)
		}
		fi, err := os.Lstat(dir)
		if err != nil {
			return "", proto.Errorf(proto.Mount, "cannot look at the runtime folder: %w", err)
		}
		st := fi.Sys().(*syscall.Stat_t)
		if !fi.IsDir() || int(st.Uid) != os.Getuid() || fi.Mode().Perm()&0o077 != 0 {
			return "", proto.Errorf(proto.Mount, "the runtime folder %s is not a folder of mode 0700 that belongs to you", dir).
				WithHint("somebody else may have made it; look at it and remove it")
		}
	}
	return dir, nil
}

// Error is err, met with something in the runtime folder dir, with its code:
// NoSpace if its file system is full, else Mount.
func Error(dir, what string, err error) *proto.Error {
	if full(err) {
		return proto.Errorf(proto.NoSpace, "%s: %w", what, err).WithHint("make room on the file system of %s, which is in memory", dir)
	}
	return proto.Errorf(proto.Mount, "%s: %w", what, err).WithHint("look at %s", dir)
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// Remove removes the folder of a vault and those above it, as far as they are
// empty.
func Remove(instance, vault string) {
	base, err := base()
	if err != nil {
		return
	}
	for _, p := range []string{filepath.Join(base, instance, vault), filepath.Join(base, instance), base} {
		if os.Remove(p) != nil {
			return
		}
	}
}

// candidate is a folder below which the runtime folders could lie.
type candidate struct{ parent, name string }

// base is the first of the usual folders that may be used. In a guest, and on
// Linux, it is on a memory file system: session secrets lie below it.
func base() (string, error) {
	var tried []string
	for _, c := range candidates() {
		if c.parent == "" || !filepath.IsAbs(c.parent) {
			continue
		}
		// The mount table has real paths, and mounts are looked for by name.
		if real, err := filepath.EvalSymlinks(c.parent); err == nil && inMemory(real) && writable(real) {
			return filepath.Join(real, c.name), nil
		}
		tried = append(tried, c.parent)
	}
	return "", proto.Errorf(proto.Prerequisite, "no folder in memory for session secrets (tried %v)", tried).
		WithHint("set XDG_RUNTIME_DIR to a folder of yours on a tmpfs")
}

func writable(dir string) bool { return syscall.Access(dir, 2 /* W_OK */) == nil }

// StateDir is where what outlives the uptime is kept (logs, the last result, a
// copy of the configuration): $XDG_STATE_HOME/fuseless/VAULT-INSTANCE, without
// making it. The host and, on a Linux host, the guest share it.
func StateDir(instance, vault string) (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", proto.Errorf(proto.Internal, "no state folder: %w", err).WithHint("set HOME")
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "fuseless", vault+"-"+instance), nil
}

// MakeStateDir makes the folder, mode 0700.
func MakeStateDir(instance, vault string) (string, error) {
	dir, err := StateDir(instance, vault)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", StateError(dir, "cannot make the state folder", err)
	}
	return dir, nil
}

// StateError is err, met with something in the state folder dir, with its code:
// Config if it may not be written, NoSpace if its disk is full, else Internal.
func StateError(dir, what string, err error) *proto.Error {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return proto.Errorf(proto.Config, "%s: %w", what, err).
			WithHint("%s must be yours; or set XDG_STATE_HOME to a folder that is", dir)
	case full(err):
		return proto.Errorf(proto.NoSpace, "%s: %w", what, err).WithHint("make room on the disk of %s", dir)
	}
	return proto.Errorf(proto.Internal, "%s: %w", what, err).WithHint("look at %s", dir)
}
