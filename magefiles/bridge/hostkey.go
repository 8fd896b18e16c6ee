package bridge

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/remote"
)

// hostKeyTime bounds the second connection that only looks at the host key.
const hostKeyTime = 30 * time.Second

var (
	// OpenSSH's sshconnect.c: verify_host_key.
	serverKey = regexp.MustCompile(`(?m)Server host key: (\S+) (SHA256:\S+)`)
	// sshconnect.c: check_host_key, for a key that differs from the one that is known.
	offending = regexp.MustCompile(`(?m)^Offending \S+ key in (.+:\d+)\r?$`)
	// `ssh -G` prints the files that it reads, and writes to the first.
	userKnownHosts = regexp.MustCompile(`(?m)^userknownhostsfile (\S+)`)
)

// hostKey is a line about the host key that ssh has just refused, as stderr
// says: its fingerprint, and where in known_hosts another one stands, or that
// none does. It is empty if ssh failed for another reason. With BatchMode ssh
// itself does not show the fingerprint of an unknown key.
//
// ssh is asked once more, so strictly that it ends before it logs in.
func (r Remote) hostKey(ctx context.Context, stderr string) string {
	if !strings.Contains(stderr, "Host key verification failed") {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, hostKeyTime)
	defer cancel()
	argv, err := Argv(r, remote.Request{Service: remote.ServiceSFTP})
	if err != nil {
		return ""
	}
	argv = slices.Insert(argv, 1, "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=DEBUG1", "-o", "ControlPath=none")
	var out bytes.Buffer
	_ = proc.Run(ctx, proc.Cmd{Argv: argv, Dir: "/", Stderr: &out}) // that it fails is expected
	keys := serverKey.FindAllStringSubmatch(out.String(), -1)
	if len(keys) == 0 {
		return ""
	}
	key := keys[len(keys)-1]
	line := fmt.Sprintf("%s it shows the key %s %s", remote.HostKeyLine, key[1], key[2])
	if at := offending.FindStringSubmatch(out.String()); at != nil {
		return line + ", and another one is in " + at[1]
	}
	return line + ", and " + r.knownHosts(ctx) + " has none"
}

// knownHosts names the file that ssh writes new host keys to.
func (r Remote) knownHosts(ctx context.Context) string {
	argv := []string{"ssh", "-G"}
	if r.SSHConfig != "" {
		argv = append(argv, "-F", r.SSHConfig)
	}
	out, err := proc.Output(ctx, proc.Cmd{Argv: append(argv, "--", r.Target), Dir: "/"})
	if m := userKnownHosts.FindSubmatch(out); err == nil && m != nil {
		return string(m[1])
	}
	return "known_hosts"
}
