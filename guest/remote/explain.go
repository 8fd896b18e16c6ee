package remote

import (
	"strings"

	"fuseless/guest/proto"
)

// messages maps what OpenSSH (9.2 and 9.9; ssh.c, sshconnect.c, sshconnect2.c,
// packet.c, clientloop.c), the remote's shell, and rsync write to standard
// error to what a person can do about it. The first that matches counts: a
// cause stands before its consequence. @ stands for the ssh command of the hint.
var messages = []struct {
	any  []string // one of these, in lower case
	code proto.Code
	text string
	hint string
}{
	{[]string{"the way to the remote is not open"}, proto.Remote, // not what ssh says: see Dial
		"the host's part of fuseless has ended",
		"run it again from the host"},
	{[]string{"remote host identification has changed", "host key for", "revoked host key"}, proto.Remote,
		"the remote's host key is not the one that is known",
		"either the server was set up anew or someone is in between; compare the fingerprint with the one its operator publishes, then remove the old key with `ssh-keygen -R`"},
	{[]string{"host key verification failed", "no matching host key fingerprint", "host key is known for"}, proto.Remote,
		"the remote's host key is not known yet",
		"run `@` once and compare the fingerprint"},
	{[]string{"could not resolve hostname", "name or service not known", "nodename nor servname"}, proto.Remote,
		"the remote's name cannot be resolved",
		"check the destination's spelling and that this machine is online; `@` must work"},
	{[]string{"connection refused"}, proto.Remote,
		"the remote refuses the connection",
		"check the port (a Hetzner Storage Box wants 23) and that the ssh server runs"},
	{[]string{"no route to host", "network is unreachable", "network is down", "connection timed out", "operation timed out", "timed out during banner exchange", "timeout, server"}, proto.Remote,
		"the remote cannot be reached",
		"check that this machine is online, and the port and firewall; `@` must work"},
	{[]string{"too many authentication failures"}, proto.Remote,
		"the remote saw too many keys before the right one",
		"set IdentityFile and `IdentitiesOnly yes` for this host in ~/.ssh/config"},
	{[]string{"unprotected private key file", "bad owner or permissions"}, proto.Remote,
		"ssh refuses a file that others can read or write",
		"correct the permissions that the message above names (chmod 600)"},
	{[]string{"bad configuration option", "terminating, ", "bad number"}, proto.Remote,
		"the ssh configuration has an error",
		"correct the line that the message above names"},
	{[]string{"permission denied (publickey", "permission denied (password", "permission denied (keyboard-interactive", "permission denied (gssapi", "permission denied (hostbased", "permission denied, please try again", "no supported authentication methods", "sign_and_send_pubkey", "incorrect passphrase"}, proto.Remote,
		"the remote does not accept a key of this user",
		"`@` must work without a question: add the key to the agent (ssh-add), and to the remote (ssh-copy-id)"},
	{[]string{"unable to negotiate", "no matching key exchange", "no matching host key type", "no mutual signature"}, proto.Remote,
		"this machine's ssh and the remote have no algorithm in common",
		"run `@` to see which, and allow it for this host in ~/.ssh/config"},
	{[]string{"subsystem request failed"}, proto.Remote,
		"the remote does not offer sftp",
		"switch on sftp for this account (sshd_config: Subsystem sftp)"},
	{[]string{"no space left on device", "enospc"}, proto.NoSpace,
		"the remote's disk is full",
		"free space there; old runs in the vault's trash folder can go"},
	{[]string{"quota exceeded", "edquot", "disc quota"}, proto.NoSpace,
		"the remote's quota is used up",
		"free space there; old runs in the vault's trash folder can go"},
	{[]string{"read-only file system"}, proto.Remote,
		"the remote's file system is read-only",
		"a disk with errors is often remounted so; ask the remote's operator"},
	{[]string{"the host refuses the rsync argument"}, proto.Internal,
		"the host refuses what rsync asks for",
		"this is a fault of fuseless; report the line above"},
	{[]string{"administratively prohibited", "exec request failed", "shell request failed", "this account is currently not available", "this service allows sftp connections only"}, proto.Remote,
		"the remote does not permit what is needed",
		"the account must be allowed sftp and `rsync --server`"},
	{[]string{"rsync: command not found", "rsync: not found", "rsync: no such file", "unknown command: rsync", "rsync: command not allowed"}, proto.Remote,
		"the remote has no rsync",
		"install rsync there"},
	{[]string{"connection reset", "broken pipe", "connection closed by", "closed by remote host", "kex_exchange_identification", "connection to", "lost connection"}, proto.Remote,
		"the connection to the remote was lost",
		"try again; the run goes on where it stopped"},
}

// Explain turns what ssh or rsync wrote to standard error, and the exit status
// of ssh, into an error of code proto.Remote or proto.NoSpace with a hint; nil
// for status 0. target is user@host; command is the ssh command that a person
// would type to reach it, empty for `ssh target`.
//
// A status that belongs to the remote command, as rsync's 23, is explained
// only if its cause is known: see Exit.
//
// The error wraps proto.ErrLink if the link is to blame.
func Explain(stderr string, exit int, target, command string) *proto.Error {
	if exit == 0 {
		return nil
	}
	low := strings.ToLower(stderr)
	for _, m := range messages {
		for _, s := range m.any {
			if strings.Contains(low, s) {
				return linked(m.text, explained(m.code, m.text, m.hint, reason(stderr, s), target, command))
			}
		}
	}
	switch exit {
	case 126, 127: // POSIX sh: cannot be executed, not found
		return explained(proto.Remote, "the remote cannot run what is needed", "rsync must be installed there, and sftp be permitted", lastLine(stderr), target, command)
	case ExitLost:
		return explained(proto.Remote, "the connection to the remote failed", "`@` must work without a question", lastLine(stderr), target, command).Linked()
	}
	return nil
}

func explained(code proto.Code, text, hint, reason, target, command string) *proto.Error {
	text += " (" + target + ")"
	if reason != "" {
		text += ": " + reason
	}
	if command == "" {
		command = "ssh " + target
	}
	return proto.Errorf(code, "%s", text).WithHint("%s", strings.ReplaceAll(hint, "@", command))
}

// HostKeyLine begins the line by which the bridge adds what it knows of a host
// key that ssh refused.
const HostKeyLine = "host key:"

// reason is the line of stderr that says most: what the bridge adds, or else the
// first with the text, in lower case, by which the cause was found. After it may
// come consequences, such as what rsync says of a remote that has none.
func reason(stderr, text string) string {
	for line := range strings.Lines(stderr) {
		if l, ok := strings.CutPrefix(line, HostKeyLine); ok {
			return strings.ToValidUTF8(strings.TrimSpace(l), "?")
		}
	}
	for line := range strings.Lines(stderr) {
		if strings.Contains(strings.ToLower(line), text) {
			return lastLine(line)
		}
	}
	return lastLine(stderr)
}

// lastLine is the last line of s that says something, at most 200 bytes. ssh
// puts its reason last; a frame of @ signs surrounds its loudest warning.
func lastLine(s string) string {
	lines := strings.Split(s, "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if l := strings.Trim(strings.TrimSpace(lines[i]), "@ "); l != "" {
			if len(l) > 200 {
				l = l[:200] + "..."
			}
			return strings.ToValidUTF8(l, "?")
		}
	}
	return ""
}
