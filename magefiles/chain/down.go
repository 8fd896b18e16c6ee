package chain

import (
	"context"

	"fuseless/guest/proto"
	"fuseless/magefiles/config"
)

// Down takes everything of every vault down, whatever state it is in, and stops
// the VM if that is not about one vault alone.
func (c *Chain) Down(ctx context.Context) error {
	vaults, err := c.Config.Select("")
	if err != nil {
		return err
	}
	m, stops := c.machine, c.machine != nil && c.Config.Selected() == ""
	if m != nil {
		go m.probe(ctx) // known by the time that the host's mount, which hangs with it, is down
	}
	err = c.down(ctx, vaults, stops)
	if stops {
		if serr := m.stop(ctx); err == nil {
			err = serr
		}
	}
	return err
}

// down takes everything of the vaults down. stops is for who stops the VM then:
// what is in one that does not answer goes with it, and is no failure.
func (c *Chain) down(ctx context.Context, vaults []config.Vault, stops bool) error {
	return c.eachOf(ctx, vaults, func(v *vault) error {
		unlock, err := v.state.Lock()
		if err != nil {
			return err
		}
		defer unlock()
		var first error
		// Each step is tried, whatever the one before it says.
		for _, s := range []func(context.Context) error{
			func(ctx context.Context) error { return v.hostUnmount(ctx, true) },
			func(ctx context.Context) error {
				err := v.do(ctx, v.request(proto.OpTeardown), nil)
				if stops && v.machine.isHung() {
					return nil
				}
				return err
			},
			v.stopBridge,
		} {
			if err := v.mounting(ctx, s); first == nil {
				first = err
			}
		}
		return first
	})
}
