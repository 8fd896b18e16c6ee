package hostmount

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"
)

// Replaced in tests.
var (
	systemConfFile = "/etc/davfs2/davfs2.conf"
	checkRoot      = privilege.Check
)

// mount runs mount.davfs. Nothing of an earlier mount may be left.
func mount(ctx context.Context, spec Spec) error {
	program, err := privilege.LookPath("mount.davfs")
	if err != nil {
		return proto.Errorf(proto.Prerequisite, "mount.davfs is not installed").WithHint("install davfs2, or type: %s", gioCommand(spec))
	}
	if err := checkRoot(ctx); err != nil {
		return needsRoot(err, spec)
	}
	sys := systemConf{group: "davfs2"}
	if f, err := os.Open(systemConfFile); err == nil {
		sys = parseSystemConf(f)
		f.Close()
	}
	if sys.proxy != "" {
		return proto.Errorf(proto.Mount, "davfs2 is set to send everything to the proxy %s", sys.proxy).
			WithHint("add the line `use_proxy 0` to %s", systemConfFile)
	}
	cache, err := cacheDir(spec)
	if err != nil {
		return err
	}
	if err := makeCache(ctx, cache, sys.group); err != nil {
		return err
	}
	conf := confFile(spec)
	if err := os.WriteFile(conf, []byte(davfsConf(spec, cache)), 0o600); err != nil {
		return proto.Errorf(proto.Mount, "writing davfs2's configuration: %w", err)
	}
	defer os.Remove(conf) // it is read once, before mount.davfs returns

	argv := davfsArgv(spec, conf, os.Getuid(), os.Getgid())
	if os.Geteuid() != 0 {
		// sudo may set a proxy of its own, from /etc/environment through PAM.
		argv = append(append([]string{"env"}, noProxy...), argv...)
		argv[len(noProxy)+1] = program
	}
	var stderr bytes.Buffer
	err = privilege.Run(ctx, proc.Cmd{
		Argv: argv, Env: noProxy, Stderr: &stderr,
		Stdin: bytes.NewReader(append(bytes.Clone(spec.Password), '\n')),
	})
	words := strings.Join(strings.Fields(stderr.String()), " ")
	switch {
	case proto.CodeOf(err) == proto.Prerequisite:
		return needsRoot(err, spec)
	case ended(err):
		return err
	case err != nil:
		return proto.Errorf(proto.Mount, "mounting %s on %s: %s: %w", spec.URL, spec.Mountpoint, words, err)
	case strings.Contains(words, "mounting anyway"):
		// The server did not answer; mount.davfs has mounted nothing, and is content.
		return proto.Errorf(proto.Mount, "mounting %s on %s: %s", spec.URL, spec.Mountpoint, words)
	}
	return nil
}

// unmount unmounts and ends the daemon, and then looks at what they left. It
// does the latter even where nothing is mounted: a run may have been killed in
// between.
//
// It calls umount with -i, that is without umount.davfs, which passes the
// mountpoint to a shell as root, in quotes that a ' in its name ends, and waits
// three seconds at least, and without end (umount.davfs(8)). What it is for, the
// waiting, is done here.
func unmount(ctx context.Context, spec Spec, mounted bool) (l lost, err error) {
	for mounted {
		err := umount(ctx, spec)
		if spec.ReadOnly && ended(err) && ctx.Err() == nil {
			// The server behind it does not answer, so nobody loses what he had.
			spec.Force = true
		}
		if err != nil && spec.Force {
			err = privilege.Run(context.WithoutCancel(ctx), proc.Cmd{Argv: []string{"umount", "-i", "-l", "--", spec.Mountpoint}})
		}
		if _, mounted, _ = Mounted(spec.Mountpoint); !mounted {
			break // by whomever
		}
		if err != nil {
			return l, umountError(ctx, spec, err)
		}
	}
	pids := daemons(spec.Mountpoint)
	if err := awaitEnd(ctx, spec, pids); err != nil {
		// A read-only one has nothing to save. Whoever interrupts has not asked for the
		// end of what uploads.
		if !spec.ReadOnly && (!spec.Force || ctx.Err() != nil) {
			return l, err
		}
		signals := []string{"-TERM", "-KILL"}
		if spec.ReadOnly {
			signals = signals[1:] // there is nothing to save
		}
		kill(ctx, pids, signals...)
	}
	if left := daemons(spec.Mountpoint); len(left) > 0 && !spec.ReadOnly {
		// Its cache, which may have the only copy of something, must not be touched.
		return l, proto.Errorf(proto.Busy, "davfs2 (pid %d) does not end", left[0]).WithHint("try again later")
	}
	removeStalePid(ctx, spec.Mountpoint)
	_ = os.Remove(confFile(spec))
	// Both, whatever the record says: it may be gone, or of a later try.
	readOnly := spec
	readOnly.ReadOnly = true
	cache, err := cacheDir(readOnly)
	if err != nil {
		return l, err
	}
	ctx = context.WithoutCancel(ctx)
	if err := removeCache(ctx, cache); err != nil {
		return l, err
	}
	return findLost(ctx, spec)
}

// umount hangs where the server does: it looks at the mounted folder first. It
// also hangs while davfs2 uploads a file that was just closed, for davfs2 does
// one thing at a time.
func umount(ctx context.Context, spec Spec) error {
	var cancel func()
	if spec.Force || spec.ReadOnly {
		ctx, cancel = context.WithTimeout(ctx, forceDeadline)
	} else {
		ctx, cancel = whileUploading(ctx, spec, daemons(spec.Mountpoint), uploadPatience)
	}
	defer cancel()
	return privilege.Run(ctx, proc.Cmd{Argv: []string{"umount", "-i", "--", spec.Mountpoint}})
}

func umountError(ctx context.Context, spec Spec, err error) error {
	switch {
	case proto.CodeOf(err) == proto.Prerequisite:
		return needsRoot(err, spec)
	case ctx.Err() != nil:
		return err
	case ended(err) && !spec.ReadOnly:
		return proto.Errorf(proto.Busy, "unmounting %s: davfs2 has not uploaded everything, and nothing has moved for %v", spec.Mountpoint, uploadPatience).
			WithHint("it goes on if the server runs: try again later; `fuseless down` ends it, and says what did not arrive")
	case ended(err):
		return proto.Errorf(proto.Busy, "unmounting %s: the server behind it does not answer", spec.Mountpoint).
			WithHint("start the server again, or run `fuseless down`")
	case strings.Contains(proc.Stderr(err), "target is busy"):
		return proto.Errorf(proto.Busy, "%s is in use", spec.Mountpoint).
			WithHint("close what is open there%s, or run `fuseless down`", holders(spec.Mountpoint))
	}
	return proto.Errorf(proto.Mount, "unmounting %s: %w", spec.Mountpoint, err)
}

// awaitEnd waits for davfs2's daemons to end, which they do once everything is
// uploaded. There is no event for the end of a process that is not ours and may
// have no pid file yet, so it looks every 20 ms.
func awaitEnd(ctx context.Context, spec Spec, pids []int) error {
	patience, over := daemonDeadline, context.WithTimeout
	switch {
	case spec.ReadOnly && spec.Force:
		patience = time.Second // it has nothing to upload, and may be waiting for a dead server
	case !spec.ReadOnly:
		if patience = uploadPatience; spec.Force {
			patience = forcePatience
		}
		over = func(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
			return whileUploading(ctx, spec, pids, patience)
		}
	}
	ctx, cancel := over(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, pid := range pids {
		for isDaemon(pid, spec.Mountpoint) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return proto.Errorf(proto.Busy, "davfs2 (pid %d) is still at work for %s: %w", pid, spec.Mountpoint, context.Cause(ctx)).
					WithHint("it may be uploading; try again later, or run `fuseless down`")
			}
		}
	}
	return nil
}

// kill ends davfs2's daemons: with SIGTERM, which lets them write their cache's
// index, and then with SIGKILL, as far as signals has them.
func kill(ctx context.Context, pids []int, signals ...string) {
	for _, pid := range pids {
		for _, signal := range signals {
			if comm(pid) != daemonName {
				break
			}
			_ = privilege.Run(context.WithoutCancel(ctx), proc.Cmd{Argv: []string{"kill", signal, strconv.Itoa(pid)}})
			for range 100 {
				if comm(pid) != daemonName || zombie(pid) {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
}

func confFile(spec Spec) string {
	return filepath.Join(spec.RuntimeDir, "hostmount-"+key(spec.Mountpoint)+".conf")
}

// needsRoot is a refusal of root's rights with what to type instead.
func needsRoot(err error, spec Spec) error {
	return &proto.Error{Code: proto.Prerequisite, Message: "mounting by davfs2 needs root, and sudo asks for a password",
		Hint: "allow sudo without a password for this, or type: " + gioCommand(spec), Err: err}
}
