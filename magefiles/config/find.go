package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"fuseless/guest/proto"
)

// FileName is the name of a configuration file.
const FileName = "fuseless.yaml"

// sizeLimit is far above any configuration, in bytes.
const sizeLimit = 1 << 20

// Find gives the absolute path of the configuration file: FUSELESS_CONFIG, else
// fuseless.yaml in dir, else fuseless/fuseless.yaml in the user's folder for
// configurations. If there is none, the error is a proto.Config that names
// `fuseless setup`.
func Find(env []string, dir string) (string, error) {
	e := environ(env)
	candidates := append([]string{filepath.Join(dir, FileName)}, e.userFiles(runtime.GOOS)...)
	if named := e.named(dir); named != "" {
		candidates = []string{named}
	}
	for _, f := range candidates {
		_, err := os.Stat(f)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return "", proto.Errorf(proto.Config, "configuration: %w", err)
		}
	}
	list := ""
	for _, f := range candidates {
		list += "\n  " + f
	}
	return "", proto.Errorf(proto.Config, "there is no configuration; looked for:%s", list).
		WithHint("`fuseless setup` asks a few questions and writes one")
}

// NewPath is where a new configuration is written: FUSELESS_CONFIG, else the user's
// folder for configurations.
func NewPath(env []string, dir string) (string, error) {
	e := environ(env)
	if named := e.named(dir); named != "" {
		return named, nil
	}
	files := e.userFiles(runtime.GOOS)
	if len(files) == 0 {
		return "", proto.Errorf(proto.Config, "HOME is not set, so there is no place for a configuration").
			WithHint("set HOME, or FUSELESS_CONFIG to the path of the file")
	}
	for _, f := range files {
		if _, err := os.Stat(filepath.Dir(filepath.Dir(f))); err == nil {
			return f, nil
		}
	}
	return files[0], nil
}

// named is the file of FUSELESS_CONFIG, or "".
func (e variables) named(dir string) string {
	f := e["FUSELESS_CONFIG"]
	if f == "" {
		return ""
	}
	if abs, err := absolute(f, dir, e.home()); err == nil {
		return abs
	}
	return filepath.Join(dir, f)
}

// userFiles are the places under the XDG base directories
// (https://specifications.freedesktop.org/basedir-spec/latest/, of which a
// relative XDG_CONFIG_HOME is to be ignored). The package adrg/xdg has the same
// rules, but reads the process's environment once, when it is loaded. On macOS
// it knows only ~/Library; people who also use Linux have ~/.config.
func (e variables) userFiles(goos string) []string {
	under := func(dir string) string { return filepath.Join(dir, "fuseless", FileName) }
	if x := e["XDG_CONFIG_HOME"]; filepath.IsAbs(x) {
		return []string{under(x)}
	}
	home := e.home()
	if home == "" {
		return nil
	}
	files := []string{under(filepath.Join(home, ".config"))}
	if goos == "darwin" {
		files = append(files, under(filepath.Join(home, "Library", "Application Support")))
	}
	return files
}

// read reads a configuration file. It refuses one that another user could
// have written: the file names a command that is run.
func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, proto.Errorf(proto.Config, "configuration: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, proto.Errorf(proto.Config, "configuration: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, proto.Errorf(proto.Config, "configuration %s is not a file", file)
	}
	if fault := foreign(st, os.Geteuid()); fault != "" {
		return nil, proto.Errorf(proto.Config, "configuration %s %s, and it can name a command that is run", file, fault).
			WithHint("check what is in it, then: chown, or chmod o-w")
	}
	data, err := io.ReadAll(io.LimitReader(f, sizeLimit+1))
	if err != nil {
		return nil, proto.Errorf(proto.Config, "configuration: %w", err)
	}
	if len(data) > sizeLimit {
		return nil, proto.Errorf(proto.Config, "configuration %s is larger than 1 MiB", file)
	}
	return data, nil
}

// foreign says who else than the user could have written a file, or "". Root
// may read everybody's: with sudo the file is the caller's.
func foreign(st os.FileInfo, euid int) string {
	if st.Mode().Perm()&0o002 != 0 {
		return "can be written by everybody"
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if ok && euid != 0 && sys.Uid != 0 && int(sys.Uid) != euid {
		return fmt.Sprintf("belongs to another user (uid %d)", sys.Uid)
	}
	return ""
}
