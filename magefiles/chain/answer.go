package chain

import (
	"context"
	"time"

	"fuseless/guest/proto"
	"fuseless/lima"
)

// A VM that hangs answers nothing, and ssh notices only after half a minute. What
// looks at a view, or takes it down, must end within ten seconds. So while such a
// request is under way, the VM is asked to run the shortest command there is.
// They are shorter in tests.
var (
	askEvery   = time.Second     // a request that is answered sooner costs nothing more
	answerTime = 4 * time.Second // the command takes 0.1 s, also without KVM
)

// whileAnswering does f, and ends it when the VM does not answer any more.
func (m *Machine) whileAnswering(ctx context.Context, f func(context.Context) error) error {
	if m.isHung() {
		return m.silence()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		tick := time.NewTicker(askEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-m.hung:
				cancel(m.silence())
				return
			case <-tick.C:
				m.probe(ctx)
			}
		}
	}()
	err := f(ctx)
	if cause := context.Cause(ctx); err != nil && proto.CodeOf(cause) == proto.Guest {
		return cause
	}
	return err
}

// probe asks a VM that runs to answer, and remembers if it does not: this process
// does not wait for it a second time.
func (m *Machine) probe(ctx context.Context) {
	i, err := m.at()
	if err != nil {
		return
	}
	if m.isHung() {
		return
	}
	if s := i.Quick(); s != lima.Running && s != lima.Degraded || i.Answers(ctx, answerTime) {
		return
	}
	m.hungOnce.Do(func() { close(m.hung) })
}

// hangs asks, unless it is known.
func (m *Machine) hangs(ctx context.Context) bool {
	if !m.isHung() {
		m.probe(ctx)
	}
	return m.isHung()
}

// isHung says whether the VM was found not to answer. There need not be one.
func (m *Machine) isHung() bool {
	if m == nil {
		return false
	}
	select {
	case <-m.hung:
		return true
	default:
		return false
	}
}

func (m *Machine) silence() error {
	return proto.Errorf(proto.Guest, "the VM %s does not answer: it hangs, or this machine is very busy", m.chain.Config.VM.Name).
		WithHint("try again; or end it by force with `fuseless down`: nothing of a vault is in it")
}
