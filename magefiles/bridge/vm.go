package bridge

import (
	"context"
	"time"

	"fuseless/lima"
)

// VM is where a bridge's socket is forwarded into a VM.
type VM struct {
	Home   string `json:"home"`   // LIMA_HOME
	Name   string `json:"name"`   // of the instance
	Socket string `json:"socket"` // path in the guest
}

func (v *VM) is(other *VM) bool {
	if v == nil || other == nil {
		return v == other
	}
	return *v == *other
}

// keepTime is how often the connection that carries the forward is looked at.
const keepTime = 5 * time.Second

// keep makes the forward again when the connection to the VM broke, as after a
// sleep, or the VM was started again.
func (v *VM) keep(ctx context.Context, socket string, logf func(string, ...any)) {
	i := lima.Instance{Home: v.Home, Name: v.Name}
	t := time.NewTicker(keepTime)
	defer t.Stop()
	said, link := "", i.Link()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		// Another run may have made the connection again, without our forward.
		if i.Quick() != lima.Running || link != "" && i.Link() == link && i.Connected(ctx) {
			continue
		}
		err := i.Forward(ctx, v.Socket, socket)
		switch {
		case err == nil:
			if link != "" {
				logf("the connection to the VM broke; %s is forwarded again", socket)
			}
			said, link = "", i.Link()
		case ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			logf("%v", err)
		}
	}
}
