package chain

import (
	"context"
	"time"

	"fuseless/guest/proto"
	"fuseless/magefiles/awake"
	"fuseless/magefiles/evicted"
)

// VerifyOptions are the flags of `verify`.
type VerifyOptions struct {
	Data  bool // read and authenticate the contents
	Full  bool // compare the contents with the source
	Share *int // of the vault, in per cent, to read with Data; nil: all
}

// check says what is wrong with the flags.
func (o VerifyOptions) check() error {
	switch {
	case o.Share == nil:
	case *o.Share < 1 || *o.Share > 100:
		return proto.Errorf(proto.Config, "-share=%d is not from 1 to 100 per cent", *o.Share).WithHint("for a tenth of the vault: `fuseless verify -data -share=10`")
	case !o.Data:
		return proto.Errorf(proto.Config, "-share is for -data").WithHint("`fuseless verify -data -share=%d`", *o.Share)
	}
	return nil
}

// Verify checks the vaults, and changes nothing.
func (c *Chain) Verify(ctx context.Context, o VerifyOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	return c.each(ctx, func(v *vault) error { return v.verify(ctx, o) })
}

func (v *vault) verify(ctx context.Context, o VerifyOptions) error {
	if o.Full && !v.HasSource() {
		return proto.Errorf(proto.Config, "the vault %s has no source to compare with", v.Name).
			WithHint("leave -full out; `fuseless verify -data` reads all that is in the vault")
	}
	programs := []string{"gocryptfs", "fusermount3", "rsync"}
	if o.Data || !v.HasSource() {
		programs = append(programs, "sshfs")
	}
	if err := v.require(programs...); err != nil {
		return err
	}
	unlock, err := v.state.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := v.notWritten(ctx); err != nil {
		return err
	}
	req := v.request(proto.OpVerify)
	req.Verify = proto.VerifyOptions{Data: o.Data, Full: o.Full, Share: 100}
	if o.Share != nil {
		req.Verify.Share = *o.Share
	}
	if last := v.state.Last(); last != nil {
		req.Verify.Last = last.Config
	}
	if v.HasSource() {
		if o.Full {
			if err := evicted.Check(ctx, v.Source, v.Exclude...); err != nil {
				return err
			}
		}
		if req.Verify.Config, err = v.findKey(ctx, true); err != nil {
			return err
		}
		if req.Verify.Since = v.began(); req.Verify.Since.IsZero() {
			v.screen.Say("no backup to %s from here is known: what the source changed since the last one cannot be told from damage", v.Destination)
		}
	} else if req.Verify.Config, err = v.state.Config(); err != nil {
		return proto.Errorf(proto.Internal, "cannot read the copy of the vault's configuration: %w", err)
	}
	if req.Passphrase, err = v.passphrase(ctx); err != nil {
		return err
	}
	defer awake.Start("check of " + v.Name)()
	socket, stop, err := v.bridge(ctx, true)
	if err != nil {
		return err
	}
	defer stop()
	req.Destination.Socket = socket
	return v.do(ctx, req, func(e proto.Event) {
		switch {
		case e.Damage != nil:
			v.screen.Damage(e.Damage)
		case e.Verify != nil:
			v.screen.Verify(e.Verify)
		}
	})
}

// began is when the last backup to this destination that succeeded began; zero
// if none is known.
func (v *vault) began() time.Time {
	last := v.state.Last()
	switch {
	case last == nil || last.Destination != v.Destination.Raw || len(last.Config) == 0:
		return time.Time{}
	case last.Began.IsZero():
		return last.Success // an earlier version noted only the end
	}
	return last.Began
}
