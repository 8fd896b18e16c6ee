//go:build linux

// Package gocryptfs runs gocryptfs: it makes configurations, and mounts the
// encrypted image of a folder (reverse mode) or the decrypted view of a vault
// (forward mode).
package gocryptfs

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// Version is a version of gocryptfs, such as 2.5.1.
type Version [3]int

// FixedReverse is the first version without gocryptfs#802: before it, a
// reverse mount keeps wrong directory IVs for folders that are deleted and
// created while it is up.
var FixedReverse = Version{2, 5, 0}

// Less tells whether v is older than w.
func (v Version) Less(w Version) bool { return slices.Compare(v[:], w[:]) < 0 }

func (v Version) String() string {
	return strconv.Itoa(v[0]) + "." + strconv.Itoa(v[1]) + "." + strconv.Itoa(v[2])
}

var versionRE = regexp.MustCompile(`^gocryptfs v?(\d+)\.(\d+)(?:\.(\d+))?`)

// ParseVersion reads the first line of `gocryptfs -version`.
func ParseVersion(out string) (Version, bool) {
	m := versionRE.FindStringSubmatch(out)
	if m == nil {
		return Version{}, false
	}
	var v Version
	for i := range v {
		v[i], _ = strconv.Atoi(m[i+1])
	}
	return v, true
}

// Installed asks the gocryptfs on PATH for its version. One that cannot be
// read counts as 0.0.0, that is as having every old fault.
func Installed(ctx context.Context) (Version, error) {
	out, err := proc.Output(ctx, proc.Cmd{Argv: []string{"gocryptfs", "-version"}})
	if err != nil {
		return Version{}, proto.Errorf(proto.Prerequisite, "cannot run gocryptfs: %w", err).
			WithHint("install it: `apt-get install gocryptfs`")
	}
	v, _ := ParseVersion(string(out))
	return v, nil
}

// Init makes a new configuration for a vault of reverse or of forward mode, in a
// temporary folder below tmp, and returns its bytes. A forward vault needs a directory
// IV besides (NewDirIV).
func Init(ctx context.Context, tmp string, reverse bool, pass proto.Secret) ([]byte, error) {
	dir, err := os.MkdirTemp(tmp, "run-init-") // as a run's folder: the next run removes what a killed one left
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	argv, name := []string{"gocryptfs", "-init", "-q", "-passfile", "/dev/fd/3"}, ConfigName
	if reverse {
		argv, name = append(argv, "-reverse"), ReverseConfigName
	}
	err = proc.Run(ctx, proc.Cmd{Argv: append(argv, "--", dir), Secrets: [][]byte{line(pass)}})
	if err != nil {
		return nil, explain(err, "make the vault's configuration")
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, proto.Errorf(proto.Vault, "gocryptfs made no configuration: %w", err)
	}
	return b, nil
}

// DirIVName is the file with a folder's directory IV, of DirIVLen bytes (gocryptfs's
// internal/nametransform).
const (
	DirIVName = "gocryptfs.diriv"
	DirIVLen  = 16
)

// NewDirIV is a directory IV for a new folder of a forward vault: random bytes.
func NewDirIV() []byte {
	iv := make([]byte, DirIVLen)
	_, _ = rand.Read(iv) // it never fails
	return iv
}

// MasterKey decrypts the master key of a configuration, as gocryptfs-xray
// prints it. The configuration goes in through an inherited pipe.
func MasterKey(ctx context.Context, config []byte, pass proto.Secret) (proto.Secret, error) {
	out, err := proc.Output(ctx, proc.Cmd{
		Argv:    []string{"gocryptfs-xray", "-dumpmasterkey", "/dev/fd/3"},
		Stdin:   bytes.NewReader(line(pass)),
		Secrets: [][]byte{config},
	})
	if err != nil {
		return "", explain(err, "unlock the vault's configuration")
	}
	// The last line is the key; the first may ask for the password.
	lines := strings.Fields(strings.TrimSpace(string(out)))
	if len(lines) == 0 {
		return "", proto.Errorf(proto.Vault, "gocryptfs-xray printed no master key")
	}
	return proto.Secret(lines[len(lines)-1]), nil
}

// line is a secret as gocryptfs reads it: up to the first newline.
func line(s proto.Secret) []byte { return append([]byte(s), '\n') }

// explain turns gocryptfs's exit codes (internal/exitcodes/exitcodes.go) into
// our errors.
func explain(err error, what string) error {
	stderr := strings.TrimSpace(proc.Stderr(err))
	code := proc.ExitCode(err)
	if strings.Contains(stderr, "Password incorrect") {
		code = 12 // gocryptfs-xray says 8
	}
	if strings.Contains(stderr, "Failed to unmarshal config file") {
		code = 8 // gocryptfs 2.3 says 11, as for much else
	}
	switch code {
	case 12, 22: // PasswordIncorrect, PasswordEmpty
		return proto.Errorf(proto.Passphrase, "cannot %s: the passphrase is wrong", what).
			WithHint("try again; if it was changed, use the new one")
	case 8, 23: // LoadConf, OpenConf
		return proto.Errorf(proto.Vault, "cannot %s: its configuration is missing or damaged: %s", what, last(stderr))
	case 6: // CipherDir
		return proto.Errorf(proto.Source, "cannot %s: %s", what, last(stderr))
	case -1:
		return err
	}
	if strings.Contains(stderr, "fusermount") && strings.Contains(stderr, "not found") {
		return proto.Errorf(proto.Prerequisite, "cannot %s: fusermount is missing", what).WithHint("install it: `apt-get install fuse3`")
	}
	return proto.Errorf(proto.Mount, "cannot %s: %w", what, err)
}

func last(s string) string {
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		s = s[i+1:]
	}
	return strings.TrimSpace(s)
}
