//go:build linux

package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fuseless/guest/mounts"
	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/guest/remote"
	"fuseless/guest/rundir"
	"fuseless/guest/store"
)

// identity tells a process from a later one with the same pid.
type identity struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
}

func (i identity) alive() bool { return i.Pid > 0 && proc.Alive(i.Pid, i.Start) }

func identify(pid int) identity {
	start, _ := proc.StartTime(pid)
	return identity{pid, start}
}

// writeJSON writes v to a new file of mode 0600 in the runtime folder, which
// is in memory.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err = os.WriteFile(tmp, b, 0o600); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return rundir.Error(filepath.Dir(path), "cannot write to the runtime folder", err)
	}
	return nil
}

func readJSON(path string, v any) bool {
	b, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(b, v) == nil
}

func (r *run) file(name string) string { return filepath.Join(r.dir, name) }

// remotePath and viewPath are the mount points in the guest.
func (r *run) remotePath() string { return r.file("remote") }
func (r *run) viewPath() string   { return r.file("view") }

// mounted tells whether name ("remote" or "view") is mounted by a live process.
func (r *run) mounted(name string) (there, alive bool, pid int, err error) {
	m, err := mounts.Find(r.file(name))
	if err != nil || m == nil {
		return false, false, 0, err
	}
	var id identity
	if readJSON(r.file(name+".json"), &id) && id.alive() {
		return true, true, id.Pid, nil
	}
	return true, false, 0, nil
}

// mount brings up the remote and the view on it. What is up already is left
// alone; what is dead is taken down first.
func (r *run) mount(ctx context.Context) (err error) {
	if _, alive, _, err := r.mounted("view"); err != nil {
		return err
	} else if alive {
		if _, remoteAlive, _, err := r.mounted("remote"); err != nil || remoteAlive || r.Destination.Local {
			return err
		}
	}
	// A server that still runs holds on to the dead view.
	r.stopServer()
	if err := r.takeDown(ctx, time.Second); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = r.takeDown(context.WithoutCancel(ctx), time.Second)
		}
	}()
	cipher := r.Destination.Path
	if !r.Destination.Local {
		cipher = r.remotePath()
		if err := r.step(ctx, proto.StepRemote, func() error { return r.mountRemote(ctx, cipher, true) }); err != nil {
			return err
		}
	}
	return r.step(ctx, proto.StepView, func() error {
		return r.mountView(ctx, cipher)
	})
}

// mountRemote mounts the vault's folder with sshfs: for a view, which outlives this
// process and may be writable, or for this run alone. sshfs's ssh is our dial.
func (r *run) mountRemote(ctx context.Context, mp string, forView bool) error {
	mode := "ro"
	if r.Writable && forView {
		var err error
		if mode, err = r.writing(ctx); err != nil {
			return err
		}
	}
	if err := os.Mkdir(mp, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	d, err := proc.StartDaemon(proc.Cmd{
		Argv: []string{
			"sshfs", "fuseless:" + r.Destination.Path, mp, "-f",
			"-o", "ssh_command=" + r.dial,
			// reconnect needs somebody who notices a dead connection: the host's
			// bridge does, and ends our dial. attr_timeout: sshfs learns how a file is when it
			// is opened, and the kernel is not to know better from a moment before; the
			// question does not leave this machine. workaround=fstat: by name, for it
			// remembers under the name what it learns of an open file, which may be an
			// old one; who reads that would keep the new one from being seen.
			"-o", mode + ",reconnect,BatchMode=yes,attr_timeout=0,workaround=fstat",
		},
		Env: []string{"FUSELESS_REMOTE=" + r.Destination.Socket},
	}, r.log("sshfs"))
	if err != nil {
		return proto.Errorf(proto.Prerequisite, "cannot mount the remote: %w", err).WithHint("install it: `apt-get install sshfs`")
	}
	err = mounts.Wait(ctx, mp, d.Ended)
	if err == nil {
		err = answers(ctx, mp, d.Ended)
	}
	if err != nil {
		d.Kill()
		_, _ = mounts.Unmount(ctx, mp, time.Second)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errNoAnswer) {
			return proto.Errorf(proto.Remote, "%w", err).WithHint("try again; if it stays so, ask the remote's operator")
		}
		if e := r.explain(proc.Stderr(err), remote.ExitLost); e != nil {
			return e
		}
		return proto.Errorf(proto.Remote, "cannot mount %s: %w", r.Destination.Label, err).
			WithHint("check that `sftp` reaches it without a question, and that the folder exists")
	}
	r.setReadAhead(ctx, mp)
	if !forView {
		return nil
	}
	return writeJSON(mp+".json", identify(d.Pid))
}

// writing is how sshfs is to write. It does not wait for the answers, and asks for a
// file's length meanwhile. A server must do what concerns one file in the order in
// which it came (draft-ietf-secsh-filexfer-02, 6.1), and not all do: of one that does
// not, gocryptfs gets a length that is too short, and fills up with zeros what is on its way.
// OpenSSH's server does one thing after the other. It is told from most others by
// what they lack, and without which none can promise that a file is on its disk.
func (r *run) writing(ctx context.Context) (options string, err error) {
	st, err := store.Open(ctx, r.Destination)
	if err != nil {
		return "", err
	}
	defer st.Close()
	if _, err := st.Lstat(r.Destination.Path); errors.Is(err, fs.ErrNotExist) {
		return "", r.noVault()
	}
	if err := store.CanReplace(st); err != nil { // else nothing could be saved that was there before
		return "", proto.Errorf(proto.Remote, "cannot write into the vault at %s: %w", r.Destination.Label, err).
			WithHint("OpenSSH's sftp can; without `writable` the vault can be read")
	}
	if store.CanSync(st) {
		return "rw", nil
	}
	r.warn("the remote cannot be asked to put a file on its disk (fsync@openssh.com): what was saved in the seconds before its power fails may be lost, and writing is slower")
	return "rw,sshfs_sync", nil
}

// firstAnswer is how long a remote may take to begin, as remote.OpenSession has
// it. ssh's own deadline ends with the server's first line. A variable for the
// tests.
var firstAnswer = 2 * time.Minute

// errNoAnswer is a remote that has not begun in that time.
var errNoAnswer = errors.New("the remote does not answer")

// answers waits until the mount at mp answers: sshfs mounts before it connects,
// and unmounts again if it cannot.
func answers(ctx context.Context, mp string, ended <-chan error) error {
	stat := make(chan error, 1)
	go func() { // it ends at the latest when the mount is taken down
		_, err := os.Stat(mp)
		stat <- err
	}()
	var err error
	select {
	case err = <-stat:
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(firstAnswer):
		return fmt.Errorf("%w: nothing came within %.0f s", errNoAnswer, firstAnswer.Seconds())
	}
	if m, merr := mounts.Find(mp); err == nil && merr == nil && m != nil {
		return nil
	}
	// How it ended tells more than the error that we saw.
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Second):
		return fmt.Errorf("the mount does not answer: %w", err)
	}
}

// unmount takes down view and remote. It refuses while the view is served.
func (r *run) unmount(ctx context.Context) error {
	if s, ok := r.server(); ok {
		return proto.Errorf(proto.Busy, "the view is being served on %s", s.Address).
			WithHint("run `fuseless close`, which stops the server first")
	}
	return r.step(ctx, proto.StepUnmount, func() error {
		r.endHung()
		return r.takeDown(ctx, 2*time.Second)
	})
}

// takeDown unmounts the view and then the remote (the other way round is EBUSY)
// and ends their processes.
func (r *run) takeDown(ctx context.Context, gentle time.Duration) error {
	for _, name := range []string{"view", "remote"} {
		mp := r.file(name)
		busy, err := mounts.Unmount(ctx, mp, gentle)
		if err != nil {
			return err
		}
		if busy {
			r.warn("a program still had files open in " + mp + "; it sees errors from now on")
		}
		var id identity
		if readJSON(mp+".json", &id) {
			id.end()
		}
		_ = os.Remove(mp + ".json")
		if err := os.Remove(mp); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// end waits for the process to end, which is to happen by itself once its
// mount is gone, and helps after a while.
func (i identity) end() {
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{0, time.Second}, {syscall.SIGTERM, time.Second}, {syscall.SIGKILL, time.Second}} {
		if !i.alive() {
			return
		}
		if step.signal != 0 {
			_ = syscall.Kill(i.Pid, step.signal)
		}
		pidfdWait(i.Pid, step.wait)
	}
}

// teardown takes everything of this vault down, whatever state it is in.
func (r *run) teardown(ctx context.Context) error {
	if _, err := os.Stat(r.dir); os.IsNotExist(err) {
		return nil
	}
	return r.step(ctx, proto.StepUnmount, func() error {
		r.stopServer()
		r.endHung()
		if err := r.takeDown(ctx, time.Second); err != nil {
			return err
		}
		old, _ := filepath.Glob(r.file(rundir.RunPrefix + "*"))
		for _, d := range old {
			if err := r.removeRun(ctx, d); err != nil {
				return err
			}
		}
		_ = os.Remove(r.file("dial"))
		rundir.Remove(r.Instance, r.Vault)
		return nil
	})
}
