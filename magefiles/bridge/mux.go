package bridge

import (
	"bufio"
	"bytes"
	"context"
	"strings"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/remote"
)

// A backup has several sessions, and over a real link a login takes most of a
// second. So the sftp session that a backup holds from its begin to its end is
// the master of a connection of its own (ssh(1), -M), and the others go over that
// while it lasts. Without one, as after the link broke, each logs in by itself:
// the master is a matter of time, and nothing depends on it.

const (
	// muxPathMax bounds the path of a ControlPath: sun_path holds 104 bytes on
	// macOS, with the NUL, and ssh binds the socket under a longer name first, with
	// a dot and 16 random characters (OpenSSH 9.2, mux.c, muxserver_listen).
	muxPathMax = 104 - 1 - 17
	// checkTime is for a question to a master that runs on this machine.
	checkTime = 5 * time.Second
)

// muxArgs are the options, before all others, by which an ssh of this service
// takes part in a shared connection.
func (r Remote) muxArgs(service string) []string {
	if r.Mux == "" {
		return nil
	}
	if service != remote.ServiceSFTP {
		return []string{"-S", r.Mux} // sshOptions has ControlMaster=no
	}
	// ControlPersist in the user's configuration would leave it behind.
	return []string{"-o", "ControlMaster=auto", "-o", "ControlPersist=no", "-S", r.Mux}
}

// quiet reads lines, without those by which an ssh says that it could not use a
// shared connection: it then makes its own, and nothing is wrong. rsync would
// take them for errors.
type quiet struct {
	lines *bufio.Reader
	rest  []byte
}

func (q *quiet) Read(p []byte) (int, error) {
	for len(q.rest) == 0 {
		line, err := q.lines.ReadBytes('\n')
		if len(line) == 0 {
			return 0, err
		}
		if !bytes.HasPrefix(line, []byte("mux_client_")) && !bytes.HasPrefix(line, []byte("Control socket connect(")) {
			q.rest = line
		}
	}
	n := copy(p, q.rest)
	q.rest = q.rest[n:]
	return n, nil
}

// sharing is r, without Mux where a connection cannot or must not be shared: a
// master that the user has opened is used instead, since it may have taken a
// touch of a hardware key.
func (r Remote) sharing(ctx context.Context) Remote {
	if r.Mux == "" {
		return r
	}
	mux := r.Mux
	r.Mux = ""
	if len(mux) > muxPathMax || strings.ContainsAny(mux, "%$~ \t\"'\\") { // ssh expands some of them
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	// With the user's ControlPath; where there is none, ssh says so and fails.
	argv := append(r.ssh(nil), "-O", "check", "--", r.Target)
	if proc.Run(ctx, proc.Cmd{Argv: argv, Dir: "/"}) != nil && ctx.Err() == nil {
		r.Mux = mux
	}
	return r
}
