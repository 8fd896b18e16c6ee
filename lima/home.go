package lima

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"fuseless/guest/proto"
)

// maxSocket is the longest path of a socket, in bytes: sun_path on macOS has
// 104 with the closing NUL (unix(4)); Linux has 108. Lima asks for less than
// its UNIX_PATH_MAX, and so do we, on both systems, so that a home that is
// shared between them works on either.
const maxSocket = 103

// longestSocket is the longest name of a socket in an instance's folder: ssh
// makes its control socket under a name with 16 random characters and a dot
// more (Lima's pkg/store/filenames, LongestSock). Our own control socket is
// shorter.
const longestSocket = "ssh.sock.1234567890123456"

var instanceName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// DefaultHome is the LIMA_HOME that fuseless uses: ~/.fuseless-lima. It is not
// ~/.lima, so that the user's own instances, and the defaults for all of them
// in ~/.lima/_config, neither touch ours nor are touched. It is short, because
// sockets live in it.
func DefaultHome() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", proto.Errorf(proto.Config, "no home folder: %w", err).WithHint("set HOME")
	}
	return filepath.Join(home, ".fuseless-lima"), nil
}

// CheckHome says whether an instance called name can live in home: its name
// must be a host name, the path absolute and without spaces, which Lima's ssh
// options do not survive, and short enough for its sockets. The error is a
// *proto.Error with code Config.
func CheckHome(home, name string) error {
	if !instanceName.MatchString(name) {
		return proto.Errorf(proto.Config, "%q cannot be the name of a VM", name).WithHint("use a-z, 0-9 and -, and begin with a letter")
	}
	if !filepath.IsAbs(home) {
		return proto.Errorf(proto.Config, "the folder of the VM, %q, is not an absolute path", home)
	}
	if strings.ContainsAny(home, " \t\n\"'\\%$") {
		return proto.Errorf(proto.Config, "the folder of the VM, %q, has a character that ssh takes for its own", home).
			WithHint("choose another folder, of letters, digits, dots and dashes")
	}
	if socket := filepath.Join(home, name, longestSocket); len(socket) > maxSocket {
		return proto.Errorf(proto.Config, "the folder of the VM is too long: its socket %s has %d bytes, and %d are the limit", socket, len(socket), maxSocket).
			WithHint("choose another folder, shorter by %d", len(socket)-maxSocket)
	}
	return nil
}
