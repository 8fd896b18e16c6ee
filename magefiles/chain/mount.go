package chain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"fuseless/guest/proto"
	"fuseless/guest/rundir"
	"fuseless/guest/webdav/challenge"
	"fuseless/magefiles/bridge"
	"fuseless/magefiles/hostmount"
	"fuseless/magefiles/prereq"
)

// RemoteMount mounts the vault and its decrypted view in the guest.
func (c *Chain) RemoteMount(ctx context.Context) error {
	v, err := c.one()
	if err != nil {
		return err
	}
	return v.mounting(ctx, v.remoteMount)
}

func (v *vault) remoteMount(ctx context.Context) error {
	st, err := v.status(ctx)
	if err != nil {
		return err
	}
	if st.View != nil && st.View.Alive && st.View.Writable != v.Writable {
		return proto.Errorf(proto.Busy, "the view is mounted %s, and `writable` in %s has changed since", access(st.View.Writable), v.Config.File).
			WithHint("run `fuseless close`, and then this again")
	}
	if st.View != nil && st.View.Alive && (v.Destination.Local || st.Remote != nil && st.Remote.Alive && v.bridgeRunning()) {
		if v.machine == nil {
			return nil
		}
		_, err := v.forwardBridge(ctx) // mends it after a sleep
		return err
	}
	if err := v.require("gocryptfs", "fusermount3", "sshfs"); err != nil {
		return err
	}
	if v.Writable {
		// Kept until it is mounted: what verify and restore read is not written to meanwhile.
		unlock, err := v.state.Lock()
		if err != nil {
			return err
		}
		defer unlock()
		v.goOnOrSay(ctx)
		return v.mountMended(ctx, func() (func(), error) { return func() {}, nil })
	}
	if unlock, err := v.state.Lock(); err == nil { // else another run works on the vault, and has seen to it
		v.goOnOrSay(ctx)
		unlock()
	}
	return v.mountMended(ctx, v.state.Lock)
}

// mountMended is mountVault, once more if it is the vault's configuration that
// hinders it and that could be put back, under lock.
func (v *vault) mountMended(ctx context.Context, lock func() (unlock func(), err error)) error {
	err := v.mountVault(ctx)
	if proto.CodeOf(err) != proto.Vault {
		return err
	}
	unlock, lerr := lock()
	if lerr != nil {
		return err
	}
	mended := v.mendVault(ctx, err)
	unlock()
	if !mended {
		return err
	}
	return v.mountVault(ctx)
}

// access is how a view is mounted, in words.
func access(writable bool) string {
	if writable {
		return "read-write"
	}
	return "read-only"
}

// mountVault mounts the remote and the view on it.
func (v *vault) mountVault(ctx context.Context) error {
	pass, err := v.passphrase(ctx)
	if err != nil {
		return err
	}
	req := v.request(proto.OpMount)
	req.Passphrase = pass
	if !v.Destination.Local {
		if req.Destination.Socket, err = v.spawnBridge(ctx); err != nil {
			return err
		}
	}
	if err := v.do(ctx, req, nil); err != nil {
		// Not joined: mage takes the exit code from the error itself.
		if serr := v.stopBridge(context.WithoutCancel(ctx)); serr != nil {
			v.screen.Say("warning: %v", serr)
		}
		return err
	}
	return nil
}

// socket is where the bridge of the mounts listens; it outlives this process.
func (v *vault) socket() (string, error) {
	dir, err := rundir.Path(v.instance, v.Name)
	return filepath.Join(dir, "remote.sock"), err
}

func (v *vault) bridgeRunning() bool {
	socket, err := v.socket()
	if err != nil {
		return false
	}
	_, ok := bridge.Running(socket)
	return ok
}

func (v *vault) spawnBridge(ctx context.Context) (string, error) {
	if _, err := rundir.Make(v.instance, v.Name); err != nil {
		return "", err
	}
	socket, err := v.socket()
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	var vm *bridge.VM
	if m := v.machine; m != nil {
		if vm, err = m.bridgeIn(ctx, v.Name, socket); err != nil {
			return "", err
		}
	}
	if _, err := bridge.Spawn(ctx, self, v.remote(true), socket, filepath.Join(v.state.Path(), "bridge.log"), vm); err != nil || vm == nil {
		return socket, err
	}
	return v.forwardBridge(ctx)
}

// forwardBridge makes the socket of the mounts' bridge one of the VM.
func (v *vault) forwardBridge(ctx context.Context) (inGuest string, err error) {
	socket, err := v.socket()
	if err != nil {
		return "", err
	}
	return v.machine.forward(ctx, v.Name, socket)
}

func (v *vault) stopBridge(ctx context.Context) error {
	if v.Destination.Local {
		v.tidy()
		return nil
	}
	socket, err := v.socket()
	if err != nil {
		return err
	}
	err = bridge.Stop(ctx, socket)
	if m := v.machine; m != nil {
		m.forget(ctx, v.Name, socket)
	}
	v.tidy()
	return err
}

// RemoteUnmount is the reverse of RemoteMount.
func (c *Chain) RemoteUnmount(ctx context.Context) error {
	v, err := c.one()
	if err != nil {
		return err
	}
	return v.mounting(ctx, v.remoteUnmount)
}

func (v *vault) remoteUnmount(ctx context.Context) error {
	if err := v.do(ctx, v.request(proto.OpUnmount), nil); err != nil {
		return err
	}
	return v.stopBridge(ctx)
}

// Serve starts the WebDAV server on the view.
func (c *Chain) Serve(ctx context.Context) error {
	v, err := c.one()
	if err != nil {
		return err
	}
	return v.mounting(ctx, v.serve)
}

// Unserve stops the WebDAV server.
func (c *Chain) Unserve(ctx context.Context) error {
	v, err := c.one()
	if err != nil {
		return err
	}
	return v.mounting(ctx, func(ctx context.Context) error {
		st, err := v.status(ctx)
		if err != nil {
			return err
		}
		writable := st.View != nil && st.View.Writable // as it was mounted, whatever the configuration says now
		if source, ok, err := hostmount.Mounted(v.Mountpoint); writable && err == nil && ok {
			return proto.Errorf(proto.Busy, "%s is mounted on %s, and may have files that are not written yet", source, v.Mountpoint).
				WithHint("run `fuseless close`, which waits for them")
		}
		return v.unserve(ctx)
	})
}

// HostMount mounts the WebDAV server on the host.
func (c *Chain) HostMount(ctx context.Context) error {
	v, err := c.one()
	if err != nil {
		return err
	}
	return v.mounting(ctx, v.hostMount)
}

func (v *vault) hostMount(ctx context.Context) error {
	s, err := v.session(ctx)
	if err != nil {
		return err
	}
	if err := prereq.TooOldDavFS(ctx); err != nil {
		return err
	}
	spec, err := v.mountSpec(s)
	if err != nil {
		return err
	}
	warning, err := hostmount.Mount(ctx, spec)
	if warning != "" {
		v.screen.Say("warning: %s", warning)
	}
	var e *proto.Error
	if errors.As(err, &e) && e.Code == proto.Prerequisite && strings.Contains(e.Hint, "gio mount") {
		e.Hint += fmt.Sprintf("; its password is in %s, and the view stays served until `fuseless close`", v.sessionFile(ctx, spec))
	}
	if err != nil {
		return err
	}
	if s.Writable {
		v.screen.Say("mounted on %s, for reading and writing", v.Mountpoint)
	} else {
		v.screen.Say("mounted on %s", v.Mountpoint)
	}
	return nil
}

// sessionFile is where a person finds the session's password.
func (v *vault) sessionFile(ctx context.Context, spec hostmount.Spec) string {
	dir := filepath.Dir(spec.RuntimeDir)
	if v.machine != nil {
		if inGuest, err := v.machine.runtimeDir(ctx, v.Name); err == nil {
			return filepath.Join(inGuest, "webdav.json") + " of the VM (see `fuseless shell`)"
		}
	}
	return filepath.Join(dir, "webdav.json")
}

// Session is what a client needs to reach the running WebDAV server.
func (c *Chain) Session(ctx context.Context) (*proto.Session, error) {
	v, err := c.one()
	if err != nil {
		return nil, err
	}
	return v.session(ctx)
}

// session asks the guest for the running server's address and secret.
func (v *vault) session(ctx context.Context) (*proto.Session, error) {
	var s *proto.Session
	if err := v.do(ctx, v.request(proto.OpSession), func(e proto.Event) {
		if e.Session != nil {
			s = e.Session
		}
	}); err != nil {
		return nil, err
	}
	if s == nil {
		return nil, proto.Errorf(proto.Internal, "the guest names no session")
	}
	return s, nil
}

func (v *vault) mountSpec(s *proto.Session) (hostmount.Spec, error) {
	dir, err := rundir.Path(v.instance, v.Name)
	if err != nil {
		return hostmount.Spec{}, err
	}
	spec := hostmount.Spec{Vault: v.Name, Mountpoint: v.Mountpoint, RuntimeDir: filepath.Join(dir, "host"), ReadOnly: s == nil || !s.Writable,
		Notice: func(s string) { v.screen.Say("%s", s) }}
	if s != nil {
		spec.URL = "http://" + s.Address + "/"
		spec.User, spec.Password = s.User, []byte(s.Password)
		spec.Verify = func(ctx context.Context) error {
			return challenge.Verify(ctx, spec.URL, s.User, string(s.Password))
		}
		if err := os.Mkdir(spec.RuntimeDir, 0o700); err != nil && !os.IsExist(err) {
			return spec, proto.Errorf(proto.Mount, "cannot make the runtime folder: %w", err)
		}
	}
	return spec, nil
}

// HostUnmount is the reverse of HostMount.
func (c *Chain) HostUnmount(ctx context.Context) error {
	v, err := c.one()
	if err != nil {
		return err
	}
	return v.mounting(ctx, func(ctx context.Context) error { return v.hostUnmount(ctx, false) })
}

func (v *vault) hostUnmount(ctx context.Context, force bool) error {
	spec, err := v.mountSpec(nil)
	if err != nil {
		return err
	}
	spec.Force = force
	warning, err := hostmount.Unmount(ctx, spec)
	if warning != "" {
		v.screen.Say("warning: %s", warning)
	}
	if err != nil && proto.CodeOf(err) != proto.Incomplete {
		return err
	}
	// It is unmounted, even where err names files that did not arrive.
	_ = os.Remove(spec.RuntimeDir) // only if it is empty
	v.tidy()
	return err
}

func (v *vault) serve(ctx context.Context) error {
	if v.machine != nil {
		return v.serveInVM(ctx)
	}
	return v.do(ctx, v.request(proto.OpServe), nil)
}

func (v *vault) unserve(ctx context.Context) error { return v.do(ctx, v.request(proto.OpUnserve), nil) }

// mounting does the steps one after the other, while no other process mounts or
// unmounts for this vault.
func (v *vault) mounting(ctx context.Context, steps ...func(context.Context) error) error {
	defer v.screen.Done()
	unlock, err := v.state.LockMounts(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, s := range steps {
		if err := s(ctx); err != nil {
			return err
		}
	}
	return nil
}
