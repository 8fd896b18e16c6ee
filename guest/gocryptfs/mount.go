//go:build linux

package gocryptfs

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/mounts"
	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// Mount is a mounted gocryptfs.
type Mount struct {
	Path   string // mount point
	Socket string // control socket; empty if there is none
	KeptFD int    // what Options.Keep is in gocryptfs's process
	daemon *proc.Daemon
}

// Options of a mount.
type Options struct {
	Reverse bool
	Exclude []string // reverse only: gitignore patterns
	Socket  string   // control socket to make; empty: none
	Log     string   // file for gocryptfs's messages
	Config  string   // file of the configuration; empty: the one in the folder

	Writable bool // forward only

	Keep *os.File // stays open as long as gocryptfs runs; nil: nothing
}

// Start mounts dir at mountpoint, read-only unless o says otherwise, and returns when the kernel has
// the mount. The gocryptfs process outlives this one; on an error none is left.
//
// The passphrase and the exclude patterns go in through inherited pipes.
func Start(ctx context.Context, dir, mountpoint string, pass proto.Secret, o Options) (*Mount, error) {
	argv := []string{"gocryptfs", "-fg", "-q", "-nosyslog", "-passfile", "/dev/fd/3"}
	if !o.Writable {
		argv = append(argv, "-ro")
	}
	secrets := [][]byte{line(pass)}
	what := "mount the view"
	if o.Reverse {
		what = "mount the encrypted image of the source"
		argv = append(argv, "-reverse", "-exclude-from", "/dev/fd/4")
		secrets = append(secrets, excludes(o.Exclude))
	}
	if o.Socket != "" {
		_ = os.Remove(o.Socket)
		argv = append(argv, "-ctlsock", o.Socket)
	}
	if o.Config != "" {
		argv = append(argv, "-config", o.Config)
	}
	argv = append(argv, "--", dir, mountpoint)
	cmd := proc.Cmd{Argv: argv, Secrets: secrets}
	if o.Keep != nil {
		cmd.Files = []*os.File{o.Keep}
	}
	d, err := proc.StartDaemon(cmd, o.Log)
	if err != nil {
		return nil, proto.Errorf(proto.Prerequisite, "cannot %s: %w", what, err).
			WithHint("install it: `apt-get install gocryptfs`")
	}
	if o.Reverse {
		limit(d.Pid)
	}
	m := &Mount{Path: mountpoint, Socket: o.Socket, KeptFD: 3 + len(secrets), daemon: d}
	if err := mounts.Wait(ctx, mountpoint, d.Ended); err != nil {
		d.Kill()
		if _, uerr := mounts.Unmount(ctx, mountpoint, time.Second); uerr != nil {
			return nil, fmt.Errorf("%w (and then: %w)", err, uerr)
		}
		m.removeSocket()
		return nil, explain(err, what)
	}
	return m, nil
}

// Close unmounts and waits for the process to end. busy is as in
// mounts.Unmount.
func (m *Mount) Close(ctx context.Context) (busy bool, err error) {
	busy, err = mounts.Unmount(ctx, m.Path, 10*time.Second)
	select {
	case <-m.daemon.Ended: // gocryptfs ends by itself when it is unmounted
	case <-time.After(5 * time.Second):
		m.daemon.Kill()
	}
	m.removeSocket()
	return busy, err
}

func (m *Mount) removeSocket() {
	if m.Socket != "" {
		_ = os.Remove(m.Socket)
	}
}

// Check returns an error if the mount is gone. An empty folder in its place
// would look like a source, or a vault, without files: so it is asked after
// every use, too.
func (m *Mount) Check() error {
	select {
	case err := <-m.daemon.Ended:
		return proto.Errorf(proto.Mount, "gocryptfs ended while its mount was in use: %w", err).WithHint("run it again; nothing was deleted")
	default:
	}
	if there, err := mounts.Find(m.Path); err != nil || there == nil {
		return proto.Errorf(proto.Mount, "the mount %s was taken away while it was in use", m.Path).WithHint("run it again; nothing was deleted")
	}
	// A process that was killed a moment ago may not be waited for yet, and its
	// mount stays in the table: only an answer proves that it lives. A stat of a
	// mount point needs a deadline.
	answer := make(chan error, 1)
	go func() {
		var st unix.Statfs_t
		answer <- unix.Statfs(m.Path, &st)
	}()
	select {
	case err := <-answer:
		if err != nil {
			return proto.Errorf(proto.Mount, "gocryptfs does not answer any more: %w", err).WithHint("run it again; nothing was deleted")
		}
	case <-time.After(time.Minute):
		return proto.Errorf(proto.Mount, "gocryptfs has not answered for a minute").WithHint("run `fuseless down`, and then run it again")
	}
	return nil
}

// Complaints are the lines that gocryptfs logged since it was mounted. In
// forward mode it hides what it cannot decrypt, a whole folder if its directory
// IV is damaged, and this is the only place where it says so.
func (m *Mount) Complaints() []string { return complaints(m.daemon.Output()) }

// The whole line, after the time: names are in these lines, too, and it is the
// remote that chooses them.
var unimplemented = regexp.MustCompile(`^[0-9/:. ]*Unimplemented opcode \S+$`)

func complaints(log string) []string {
	var lines []string
	for l := range strings.Lines(log) {
		l = strings.TrimSpace(l)
		// go-fuse answers such a request with ENOSYS, and the kernel asks in another way
		// (FUSE_STATX of Linux 6.6, when somebody calls stat(1) on a file in the mount).
		if l != "" && !unimplemented.MatchString(l) {
			lines = append(lines, l)
		}
	}
	return lines
}

// Pid of the gocryptfs process.
func (m *Mount) Pid() int { return m.daemon.Pid }

// excludes is the exclude file. Its last line protects the vault's own
// configuration: a pattern such as `*.conf` would hide it, and then it would
// be taken for deleted (see also gocryptfs#686). The virtual gocryptfs.conf is
// matched under the name that it has in the source.
func excludes(patterns []string) []byte {
	return []byte(strings.Join(append(patterns[:len(patterns):len(patterns)], "!/"+ReverseConfigName), "\n") + "\n")
}
