//go:build linux

package ops

import (
	"context"

	"fuseless/guest/store"
)

// kept is the sftp session that a backup holds from its first look at the
// destination to its end: logging in takes most of a second over a real link,
// and the host lets the run's rsync use the same connection.
type kept struct {
	store.FS
	ctx    context.Context // of the session
	cancel context.CancelFunc
}

// broken tells whether the session has ended.
func (k *kept) broken() bool {
	s, ok := k.FS.(interface{ Broken() bool })
	return k.ctx.Err() != nil || ok && s.Broken()
}

// store lends the run's session, and begins it if there is none, or if it has
// ended meanwhile. back gives it back; until then, the end of ctx ends it.
func (b *backup) store(ctx context.Context) (st store.FS, back func() bool, err error) {
	if b.kept != nil && b.kept.broken() {
		b.drop(ctx)
	}
	if b.kept == nil {
		k := &kept{}
		// ctx may be that of one step; and an rsync that is told to end has a moment to
		// do so in order, over the connection of this session.
		k.ctx, k.cancel = context.WithCancel(context.WithoutCancel(ctx))
		stop := context.AfterFunc(ctx, k.cancel)
		k.FS, err = b.connect(k.ctx)
		if err != nil {
			k.cancel()
			return nil, nil, err
		}
		stop()
		b.kept = k
	}
	return b.kept.FS, context.AfterFunc(ctx, b.kept.cancel), nil
}

// letGo ends the session, if there is one, at the end of the run: nothing is under
// way in it, and the remote is not waited for.
func (b *backup) letGo() {
	if b.kept != nil {
		b.kept.cancel()
		_ = b.kept.Close()
		b.kept = nil
	}
}

// drop ends the session, if there is one: in order, unless ctx has ended.
func (b *backup) drop(ctx context.Context) {
	if b.kept == nil {
		return
	}
	stop := context.AfterFunc(ctx, b.kept.cancel)
	_ = b.kept.Close()
	stop()
	b.kept.cancel()
	b.kept = nil
}
