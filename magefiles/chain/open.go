package chain

import (
	"context"
	"errors"

	"fuseless/guest/proto"
	"fuseless/magefiles/hostmount"
)

// OpenFolder does everything up to a folder in the file manager.
func (c *Chain) OpenFolder(ctx context.Context) error {
	v, err := c.one()
	if err != nil {
		return err
	}
	if err := v.mounting(ctx, v.remoteMount, v.serve, v.hostMount); err != nil {
		return err
	}
	opened, err := hostmount.OpenFolder(ctx, v.Mountpoint)
	if err != nil {
		v.screen.Say("the file manager did not open: %v", err)
	} else if !opened {
		v.screen.Say("there is no desktop here; the files are in %s", v.Mountpoint)
	}
	return nil
}

// Close is the reverse of OpenFolder.
func (c *Chain) Close(ctx context.Context) error {
	v, err := c.one()
	if err != nil {
		return err
	}
	var lost error // is told, and keeps nothing from being closed
	hostUnmount := func(ctx context.Context) error {
		err := v.hostUnmount(ctx, false)
		if proto.CodeOf(err) == proto.Incomplete {
			lost, err = err, nil
		}
		return err
	}
	if err := v.mounting(ctx, hostUnmount, v.unserve, v.remoteUnmount); err != nil {
		return errors.Join(err, lost)
	}
	return lost
}
