//go:build linux

package ops

import (
	"context"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// init makes a configuration and hands it, and the master key, to the host. It
// leaves nothing in the guest.
func (r *run) init(ctx context.Context) error {
	return r.step(ctx, proto.StepInit, func() error {
		config, err := gocryptfs.Init(ctx, r.dir, r.Passphrase)
		if err != nil {
			return err
		}
		key, err := gocryptfs.MasterKey(ctx, r.dir, config, r.Passphrase)
		if err != nil {
			return err
		}
		r.event(proto.Event{Kind: proto.KindConfig, Data: config})
		r.event(proto.Event{Kind: proto.KindMasterKey, Data: []byte(key)})
		return nil
	})
}

// look tells what lies at the destination.
func (r *run) look(ctx context.Context) error {
	return r.step(ctx, proto.StepConnect, func() error {
		st, err := store.Open(ctx, r.Destination)
		if err != nil {
			return err
		}
		defer st.Close()
		look, err := lookAt(st, r.Destination)
		if err != nil {
			return err
		}
		r.event(proto.Event{Kind: proto.KindResult, Look: look})
		return nil
	})
}
