//go:build linux

// Package ops does what the host asks for: it is the guest's side of every
// target.
package ops

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/mounts"
	"fuseless/guest/proto"
	"fuseless/guest/remote"
	"fuseless/guest/rundir"
)

// run is one request on its way.
type run struct {
	*proto.Request
	dir   string // runtime folder of the vault, in memory
	state string // state folder of the vault
	dial  string // what rsync and sshfs call to reach the remote

	fetchFailed bool     // a restore could not fetch everything
	lost        []string // of the trash, what has no name any more, as lines for the user
	link        link
	lock        *flock.Flock // see alone
	slow        bool         // it was said that reading is slow

	mu   sync.Mutex
	emit *proto.Emitter
}

var (
	instanceRE = regexp.MustCompile(`^[0-9a-f]{8}$`)
	vaultRE    = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)
)

// Run carries out req and emits events. Its error is also the last event.
func Run(ctx context.Context, req *proto.Request, emit *proto.Emitter) error {
	r := &run{Request: req, emit: emit}
	err := r.do(ctx)
	if err != nil && ctx.Err() != nil && (!isOurs(err) || proto.CodeOf(err) == proto.Remote) {
		// What ends with us also looks like a connection that failed.
		err = proto.Errorf(proto.Interrupted, "interrupted").WithHint("run it again: it goes on where it was")
	}
	if err != nil {
		var e *proto.Error
		if !errors.As(err, &e) {
			e = proto.Errorf(proto.Internal, "%w", err)
		}
		r.event(proto.Event{Kind: proto.KindError, Text: e.Message, Hint: e.Hint, Code: e.Code})
		return e
	}
	return nil
}

func isOurs(err error) bool {
	var e *proto.Error
	return errors.As(err, &e) && e.Code != proto.Internal && !errors.Is(err, context.Canceled)
}

// Names says whether the two can name an instance and a vault: both become
// parts of paths.
func Names(instance, vault string) bool {
	return instanceRE.MatchString(instance) && vaultRE.MatchString(vault)
}

func (r *run) do(ctx context.Context) error {
	if !Names(r.Instance, r.Vault) {
		return proto.Errorf(proto.Internal, "request names no proper instance and vault")
	}
	var err error
	if r.Op == proto.OpStatus || r.Op == proto.OpTeardown || r.Op == proto.OpUnserve || r.Op == proto.OpUnmount || r.Op == proto.OpSession {
		if r.dir, err = rundir.Path(r.Instance, r.Vault); err != nil {
			return err
		}
	} else if err := r.prepare(); err != nil {
		return err
	}
	switch r.Op {
	case proto.OpInit, proto.OpBackup, proto.OpRestore, proto.OpVerify, proto.OpPasswd, proto.OpTrash, proto.OpMount, proto.OpServe:
		if err := r.alone(ctx); err != nil {
			return err
		}
	}
	switch r.Op {
	case proto.OpInit:
		return r.init(ctx)
	case proto.OpLook:
		return r.look(ctx)
	case proto.OpBackup:
		return r.backup(ctx)
	case proto.OpRestore:
		return r.restore(ctx)
	case proto.OpMount:
		return r.mount(ctx)
	case proto.OpUnmount:
		return r.unmount(ctx)
	case proto.OpServe:
		return r.serve(ctx)
	case proto.OpUnserve:
		return r.unserve(ctx)
	case proto.OpStatus:
		return r.status()
	case proto.OpSession:
		return r.session()
	case proto.OpTeardown:
		return r.teardown(ctx)
	case proto.OpProbe:
		return r.probe(ctx)
	case proto.OpPasswd:
		return r.passwd(ctx)
	case proto.OpVerify:
		return r.verify(ctx)
	case proto.OpTrash:
		return r.trash(ctx)
	}
	return proto.Errorf(proto.Internal, "unknown operation %q", r.Op)
}

// prepare makes the folders and the link by which rsync and sshfs call us: a
// path without spaces, since both split what they are given.
func (r *run) prepare() (err error) {
	if r.dir, err = rundir.Make(r.Instance, r.Vault); err != nil {
		return err
	}
	if r.state, err = rundir.MakeStateDir(r.Instance, r.Vault); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r.dial = filepath.Join(r.dir, "dial")
	if old, err := os.Readlink(r.dial); err == nil && old == self {
		return nil
	}
	_ = os.Remove(r.dial)
	if err := os.Symlink(self, r.dial); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}

func (r *run) event(e proto.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// A host that is gone is seen by standard input's end, not here.
	_ = r.emit.Emit(e)
}

func (r *run) warn(text string) { r.event(proto.Event{Kind: proto.KindWarning, Text: text}) }
func (r *run) note(text string) { r.event(proto.Event{Kind: proto.KindNote, Text: text}) }

// step emits that s begins, does f, and emits that it is done.
func (r *run) step(ctx context.Context, s proto.Step, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.event(proto.Event{Kind: proto.KindStep, Step: s})
	if err := f(); err != nil {
		return err
	}
	r.event(proto.Event{Kind: proto.KindStep, Step: s, Done: true})
	return nil
}

// explain turns what the host's ssh said into an error that a person can act on.
func (r *run) explain(stderr string, exit int) *proto.Error {
	return remote.Explain(stderr, exit, r.Destination.Target, r.Destination.SSH)
}

func (r *run) log(name string) string { return filepath.Join(r.state, name+".log") }

// newRun makes a folder for the mounts and sockets of this run alone.
func (r *run) newRun() (string, error) { return os.MkdirTemp(r.dir, rundir.RunPrefix) }

// repair takes down what a killed run left. The host holds the vault's lock, and
// alone has waited for the guest of the last one, so whatever is there is nobody's.
func (r *run) repair(ctx context.Context) error {
	old, err := filepath.Glob(filepath.Join(r.dir, rundir.RunPrefix+"*"))
	if err != nil || len(old) == 0 {
		return err
	}
	return r.step(ctx, proto.StepRepair, func() error {
		for _, d := range old {
			if err := r.removeRun(ctx, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// removeRun unmounts everything below a run's folder and removes it.
func (r *run) removeRun(ctx context.Context, dir string) error {
	points, err := mounts.Below(dir)
	if err != nil {
		return err
	}
	for _, p := range points {
		if _, err := mounts.Unmount(ctx, p, 5*time.Second); err != nil {
			return err
		}
	}
	// Only empty folders and sockets are left. Never RemoveAll: if a mount
	// were still there, it would reach into it.
	return removeShallow(dir)
}

func removeShallow(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	if err := os.Remove(dir); !os.IsNotExist(err) {
		return err
	}
	return nil // the run itself was about to end
}

// image mounts the encrypted image of the source afresh, below a folder of
// this run. The caller closes it.
func (r *run) image(ctx context.Context, dir, name string) (*gocryptfs.Mount, error) {
	if err := r.checkMounted(); err != nil {
		return nil, err
	}
	mp := filepath.Join(dir, name)
	if err := os.Mkdir(mp, 0o700); err != nil {
		return nil, err
	}
	return gocryptfs.Start(ctx, r.Source, mp, r.Passphrase, gocryptfs.Options{
		Reverse: true, Exclude: r.Exclude, Socket: mp + ".sock", Log: r.log("gocryptfs"),
	})
}
