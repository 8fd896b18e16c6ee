// Package doctor looks at everything that fuseless needs, on the host, in the
// guest, on the remote and on the ways between them, and says what mends what
// is not well. It starts no VM, asks for no passphrase, and changes nothing; a
// folder with a dozen tiny files, which shows what the way between host and
// guest does to files, is there for a moment.
package doctor

import (
	"context"
	"errors"
	"io"
	"time"

	"fuseless/guest/proto"
	"fuseless/lima"
	"fuseless/magefiles/bridge"
	"fuseless/magefiles/config"
	"fuseless/templates"
)

// Env is what doctor looks at, and by what means.
type Env struct {
	Config *config.Config // nil if there is none that can be used
	Fault  error          // then: why
	Vaults []config.Vault // those to look at

	// Guest asks the guest on behalf of a vault: a request with proto.OpProbe,
	// the vault's source and destination, and o. It needs the bridge only for
	// o.Remote.
	Guest func(ctx context.Context, vault string, o proto.ProbeOptions) (*proto.ProbeResult, error)

	// Remote is how the host reaches a vault's remote, read-only. It is used
	// while the guest cannot be asked.
	Remote func(config.Vault) bridge.Remote

	VM *VM // nil: the guest is this machine

	system *system // nil: the real one
}

// VM is the guest of `guest: lima`. Neither function may start it, or change it.
type VM struct {
	Home  string // LIMA_HOME
	State func(context.Context) (lima.State, error)
	// Current says whether a running VM is as the configuration has it. One that
	// is not is not asked: that would mean to restart it. nil: it is.
	Current func(context.Context) (bool, error)
}

// Run looks at everything and hands each check to on as soon as it is done.
// What is wrong is in the report, see Report.Err; Run's own error is ctx's.
func Run(ctx context.Context, env Env, on func(Check)) (*Report, error) {
	d := &doctor{Env: env, on: on, report: &Report{Schema: Schema, Guest: config.Local}}
	if d.system == nil {
		d.system = realSystem()
	}
	if d.VM != nil {
		d.report.Guest = config.Lima
	}
	d.host(ctx)
	asked := d.guest(ctx)
	if asked {
		d.mount(ctx)
	}
	for _, v := range d.Vaults {
		if ctx.Err() != nil {
			break
		}
		d.vault(ctx, v, asked)
	}
	return d.report, ctx.Err()
}

// Print runs the checks and prints the report, as text or as JSON. Its error
// is the report's.
func Print(ctx context.Context, env Env, w io.Writer, asJSON bool) error {
	p := &Printer{W: w, Lima: env.VM != nil}
	on := p.Check
	if asJSON {
		on = nil
	}
	r, err := Run(ctx, env, on)
	if err != nil {
		return err
	}
	if asJSON {
		if err := r.JSON(w); err != nil {
			return err
		}
	} else {
		p.Summary(r)
	}
	return r.Err()
}

// doctor is one run.
type doctor struct {
	Env
	on     func(Check)
	report *Report
}

func (d *doctor) add(c Check) {
	d.report.add(c)
	if d.on != nil {
		d.on(d.report.Checks[len(d.report.Checks)-1])
	}
}

// local tells that the guest is this machine.
func (d *doctor) local() bool { return d.VM == nil }

// guestPath is where the guest sees a source.
func (d *doctor) guestPath(source string) string {
	if d.local() {
		return source
	}
	return templates.MountPoint(source)
}

// ask asks the guest for a vault.
func (d *doctor) ask(ctx context.Context, vault string, o proto.ProbeOptions) (*proto.ProbeResult, error) {
	p, err := d.Guest(ctx, vault, o)
	if err == nil && p == nil {
		err = proto.Errorf(proto.Internal, "the guest did not answer the question")
	}
	return p, err
}

// hung is the time after which a file system of the host counts as dead.
const hung = 10 * time.Second

// bounded does f, which may hang in the kernel behind a mount that is dead, in
// a goroutine of its own, and gives up after a while.
func bounded[T any](f func() (T, error)) (result T, err error) {
	type answer struct {
		result T
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		r, err := f()
		done <- answer{r, err}
	}()
	select {
	case a := <-done:
		return a.result, a.err
	case <-time.After(hung):
		return result, errors.New("no answer within " + hung.String())
	}
}
