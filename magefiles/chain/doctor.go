package chain

import (
	"context"
	"io"
	"runtime"

	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/bridge"
	"fuseless/magefiles/config"
	"fuseless/magefiles/doctor"
)

// Doctor looks at everything that is needed, and says what mends what is not well.
// Without a usable configuration it looks at this machine.
func Doctor(ctx context.Context, verbose, asJSON bool, out io.Writer) error {
	c, err := Open(verbose)
	if err != nil {
		env := doctor.Env{Fault: err}
		if home, herr := lima.DefaultHome(); herr == nil && runtime.GOOS == "darwin" {
			env.VM = &doctor.VM{Home: home}
		}
		return doctor.Print(ctx, env, out, asJSON)
	}
	vaults, err := c.Config.Select("")
	if err != nil {
		return err
	}
	env := doctor.Env{Config: c.Config, Vaults: vaults, Guest: c.probe,
		Remote: func(v config.Vault) bridge.Remote { return (&vault{Vault: v, Chain: c}).remote(true) }}
	if m := c.machine; m != nil {
		i, aerr := m.at() // the check of the VM's folder says it better
		env.VM = &doctor.VM{
			Home:  i.Home,
			State: func(context.Context) (lima.State, error) { return i.Quick(), aerr },
			Current: func(ctx context.Context) (bool, error) {
				yaml, err := m.rendering(ctx, i)
				return err == nil && i.Plan(yaml) == lima.Nothing, err
			},
		}
	}
	return doctor.Print(ctx, env, out, asJSON)
}

// probe asks the guest on behalf of a vault.
func (c *Chain) probe(ctx context.Context, name string, o proto.ProbeOptions) (p *proto.ProbeResult, err error) {
	cv, err := c.Config.One(name)
	if err != nil {
		return nil, err
	}
	v, err := c.open(cv)
	if err != nil {
		return nil, err
	}
	defer v.tidy()
	req := v.request(proto.OpProbe)
	req.Probe = o
	if o.Remote {
		socket, stop, err := v.bridge(ctx, true)
		if err != nil {
			return nil, err
		}
		defer stop()
		req.Destination.Socket = socket
	}
	err = c.do(ctx, req, func(e proto.Event) {
		if e.Probe != nil {
			p = e.Probe
		}
	})
	return p, err
}
