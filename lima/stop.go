package lima

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"fuseless/guest/proto"
)

// stopPatience is how long a guest may take to shut down: Lima itself waits up
// to three minutes for it, and kills it then.
const stopPatience = 5 * time.Minute

// Stop stops the instance, whatever state it is in. The guest is asked to shut
// down, and killed if it does not.
func (i Instance) Stop(ctx context.Context) error {
	unlock, err := i.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return i.stop(ctx)
}

// Kill ends an instance that does not answer, as a power failure does: it is not
// asked to shut down, which it would be given minutes for.
func (i Instance) Kill(ctx context.Context) error {
	unlock, err := i.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	i.removeStalePIDs()
	i.disconnect(ctx)
	if s := i.Quick(); s == Absent || s == Stopped {
		return nil
	}
	return i.kill(ctx)
}

func (i Instance) stop(ctx context.Context) error {
	i.removeStalePIDs()
	i.disconnect(ctx)
	switch i.Quick() {
	case Absent, Stopped:
		return nil
	case Running, Degraded, Starting:
		wait, cancel := context.WithTimeout(ctx, stopPatience)
		_, err := i.limactl(wait, nil, nil, "stop", i.Name)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			return nil
		}
	}
	return i.kill(ctx)
}

func (i Instance) kill(ctx context.Context) error {
	if _, err := i.limactl(ctx, nil, nil, "stop", "--force", i.Name); err != nil {
		return proto.Errorf(failed, "stop the VM: %w", err).WithHint("the logs are in %s", i.Dir())
	}
	return nil
}

// Delete stops the instance and removes it with its disk. When it was the last
// one, what Lima keeps in Home goes too. A foreign instance is refused; an
// absent one is no error.
func (i Instance) Delete(ctx context.Context) error {
	if err := i.check(); err != nil {
		return err
	}
	if _, err := os.Stat(i.Home); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := i.foreign(); err != nil {
		return err
	}
	unlock, err := i.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(i.Dir()); err == nil {
		if err := i.stop(ctx); err != nil {
			return err
		}
		if err := i.remove(ctx); err != nil {
			return err
		}
	}
	_ = os.Remove(i.intent())
	i.removeHome()
	return nil
}

// remove removes an instance that is ours.
func (i Instance) remove(ctx context.Context) error {
	_, err := i.limactl(ctx, nil, nil, "delete", "--force", i.Name)
	if err == nil {
		// limactl leaves a folder without a lima.yaml as it is.
		err = os.RemoveAll(i.Dir())
	}
	if err != nil {
		return proto.Errorf(failed, "delete the VM: %w", err)
	}
	return nil
}

// removeHome removes what Lima made in Home, if no instance is left there, and
// Home itself if nothing else is in it. Nothing is removed recursively: Home
// may be a folder that holds more.
func (i Instance) removeHome() {
	entries, err := os.ReadDir(i.Home)
	if err != nil {
		return
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(i.Home, e.Name(), "lima.yaml")); err == nil {
			return
		}
	}
	for _, name := range []string{"_config/user", "_config/user.pub", "_config/networks.yaml", "_config",
		"_disks", "_networks", "_templates", "." + i.Name + ".lock", "." + i.Name + ".use", "."} {
		_ = os.Remove(filepath.Join(i.Home, name))
	}
}
