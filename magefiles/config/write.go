package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"fuseless/guest/proto"
	"fuseless/magefiles/passphrase"
)

// Draft is a vault of a new configuration, as a person would write it. What is empty is left
// to its default.
type Draft struct {
	Name        string
	Source      string
	Destination string
	Exclude     []string
	Port        int
	Mountpoint  string
	Passphrase  passphrase.Source
}

// Render gives the text of a configuration with these vaults.
func Render(vaults ...Draft) []byte {
	var b bytes.Buffer
	b.WriteString("# The configuration of fuseless. `fuseless config` shows all fields with their values.\nvaults:\n")
	for _, v := range vaults {
		fmt.Fprintf(&b, "  %s:\n", plain(v.Name))
		put := func(key, value string) {
			if value != "" {
				fmt.Fprintf(&b, "    %s: %s\n", key, value)
			}
		}
		text := func(key, value string) {
			if value != "" {
				put(key, plain(value))
			}
		}
		text("source", v.Source)
		text("destination", v.Destination)
		if len(v.Exclude) > 0 {
			put("exclude", flow(v.Exclude))
		}
		if v.Port != 0 {
			put("port", fmt.Sprint(v.Port))
		}
		text("mountpoint", v.Mountpoint)
		put("passphrase", passphraseYAML(v.Passphrase))
	}
	return b.Bytes()
}

// Write writes a new configuration, with mode 0600, whole or not at all, and
// never over an existing one, which is a proto.Config error. It does not check what it
// writes.
func Write(path string, vaults ...Draft) error {
	if err := write(path, Render(vaults...)); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return exists(path)
		}
		return proto.Errorf(proto.Config, "write the configuration: %w", err)
	}
	return nil
}

func exists(path string) error {
	return proto.Errorf(proto.Config, "there is a configuration already: %s", path).
		WithHint("edit it, for instance to add a vault; `fuseless config` checks it")
}

func write(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// A link, because a rename would replace what is there.
	err = os.Link(f.Name(), path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without hard links, such as exFAT.
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	return f.CloseAtomicallyReplace()
}
