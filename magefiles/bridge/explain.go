package bridge

import (
	"github.com/kballard/go-shellquote"

	"fuseless/guest/proto"
	"fuseless/guest/remote"
)

// Command is the ssh command that a person would type to reach r.
func (r Remote) Command() string {
	argv := []string{"ssh"}
	if r.SSHConfig != "" {
		argv = append(argv, "-F", r.SSHConfig)
	}
	if r.Port != "" {
		argv = append(argv, "-p", r.Port)
	}
	return shellquote.Join(append(argv, r.Target)...)
}

// Explain is remote.Explain for r.
func Explain(stderr string, exit int, r Remote) *proto.Error {
	return remote.Explain(stderr, exit, r.Target, r.Command())
}
