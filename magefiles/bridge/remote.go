// Package bridge is the host's end of design rule 7: it listens on a unix
// socket, starts the user's own ssh for every session that the guest asks
// for, and copies bytes. What runs on the remote is chosen here, from a closed
// list; the guest has no say in destination, options of ssh, or paths.
package bridge

import (
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kballard/go-shellquote"

	"fuseless/guest/proto"
	"fuseless/guest/remote"
)

// Remote is the one destination of a bridge.
type Remote struct {
	Target string `json:"target"`         // [user@]host, or a Host alias of the user's ssh configuration
	Port   string `json:"port,omitempty"` // empty: ssh's own choice
	Path   string `json:"path"`           // the vault's folder; relative ones begin at the login folder

	// Trash is the folder for what a run deletes or replaces: absolute, or
	// relative to the vault's folder as rsync's --backup-dir is, as in
	// "../name.trash". Empty: no request may name a trash.
	Trash string `json:"trash,omitempty"`

	ReadOnly  bool   `json:"read_only,omitempty"`  // refuse an rsync that writes
	SSHConfig string `json:"ssh_config,omitempty"` // absolute path for ssh -F; empty: the user's
	SSH       string `json:"ssh,omitempty"`        // the ssh program; empty: ssh from PATH

	// Mux is the absolute path of the socket by which sessions share a connection,
	// the one of the sftp session that came first, as long as that lasts. Empty:
	// each session has its own.
	Mux string `json:"mux,omitempty"`
}

// sshOptions come before the user's configuration, as first values win
// (ssh_config(5)). They take away what a bridge must not do; host keys,
// identities, agent and jumps stay as the user has them.
var sshOptions = []string{
	"-T", // no terminal
	"-o", "BatchMode=yes",
	"-o", "ClearAllForwardings=yes",
	"-o", "ForwardAgent=no",
	"-o", "ForwardX11=no",
	"-o", "PermitLocalCommand=no",
	"-o", "RemoteCommand=none", // one in the configuration makes ssh refuse ours
	"-o", "EscapeChar=none",
	// A master connection that the user has opened is used. Ours becomes one only
	// for others of the same bridge (Remote.Mux): ssh would not end before the last
	// other session on it, or would stay behind (ControlPersist).
	"-o", "ControlMaster=no",
	"-o", "ConnectTimeout=30",
	// A dead connection is noticed after 15 to 20 s, also where nothing waits for
	// an answer: a mount has to answer with an error within 30.
	"-o", "ServerAliveInterval=5",
	"-o", "ServerAliveCountMax=3",
	"-o", "LogLevel=ERROR",
}

var (
	targetPattern = regexp.MustCompile(`^[^-\s\x00-\x1f\x7f][^\s\x00-\x1f\x7f]*$`)
	portPattern   = regexp.MustCompile(`^[0-9]{1,5}$`)
	// shellSafe needs no quoting in any shell. Restricted servers parse the
	// command themselves, so quotes are spared where they can be.
	shellSafe = regexp.MustCompile(`^[A-Za-z0-9._/+,:@-]+$`)
)

// Check says what is wrong with r. Its error has code proto.Config.
func (r Remote) Check() error {
	switch {
	case !targetPattern.MatchString(r.Target):
		return proto.Errorf(proto.Config, "destination %q is not user@host", r.Target)
	case r.Port != "" && !portPattern.MatchString(r.Port):
		return proto.Errorf(proto.Config, "port %q is not a number", r.Port)
	case strings.ContainsRune(r.Path, 0) || strings.ContainsRune(r.Trash, 0):
		return proto.Errorf(proto.Config, "a path on the remote contains a NUL byte")
	case strings.HasPrefix(r.Trash, "-"):
		return proto.Errorf(proto.Config, "trash %q begins with a dash", r.Trash)
	case r.SSHConfig != "" && !filepath.IsAbs(r.SSHConfig):
		return proto.Errorf(proto.Config, "ssh configuration %q is not an absolute path", r.SSHConfig)
	}
	return nil
}

// Argv is the command line by which the host serves req, or an error that
// names the argument for which req is refused (code proto.Internal: our own
// guest does not ask for it).
func Argv(r Remote, req remote.Request) ([]string, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	argv := append(r.ssh(r.muxArgs(req.Service)), sshOptions...)
	switch req.Service {
	case remote.ServiceSFTP:
		if len(req.Args) > 0 {
			return nil, refused(req.Args[0])
		}
		return append(argv, "-s", "--", r.Target, "sftp"), nil
	case remote.ServiceRsync:
		args, err := rsyncArgs(r, req.Args)
		if err != nil {
			return nil, err
		}
		argv = append(argv, "--", r.Target, "rsync")
		return append(argv, args...), nil
	}
	return nil, proto.Errorf(proto.Internal, "the host offers no service %q to the guest", req.Service)
}

// ssh is the beginning of every command line: the program, where it finds the
// destination, and extra.
func (r Remote) ssh(extra []string) []string {
	argv := []string{"ssh"}
	if r.SSH != "" {
		argv[0] = r.SSH
	}
	if r.SSHConfig != "" {
		argv = append(argv, "-F", r.SSHConfig)
	}
	if r.Port != "" {
		argv = append(argv, "-p", r.Port)
	}
	return append(argv, extra...)
}

func refused(arg string) error {
	return proto.Errorf(proto.Internal, "the host refuses the rsync argument %q", arg)
}

// folder is the argument that means the folder p, for a remote shell. A slash
// at its end makes it the folder's content, for rsync as sender and receiver.
func folder(p string) string {
	if p == "" {
		p = "."
	}
	if strings.HasPrefix(p, "-") || strings.HasPrefix(p, "~") {
		p = "./" + p
	}
	if !strings.HasSuffix(p, "/") {
		p += "/"
	}
	return quote(p)
}

// quote quotes s for a POSIX shell if it needs that.
func quote(s string) string {
	if shellSafe.MatchString(s) {
		return s
	}
	return shellquote.Join(s)
}

// trashFolder is the trash as a path of its own, which rsync would otherwise
// take relative to the vault.
func (r Remote) trashFolder() string {
	if path.IsAbs(r.Trash) {
		return r.Trash
	}
	return path.Join(r.Path, r.Trash)
}
