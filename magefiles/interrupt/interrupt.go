// Package interrupt ends a target in order: on Ctrl-C, SIGTERM and SIGHUP, and
// when mage, which runs the target, has ended without it.
package interrupt

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// caught are the signals that end a target in order.
var caught = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}

// ignored are those of them that were ignored when this process began, such as
// SIGHUP below nohup, or SIGINT in the background of a script. They stay so;
// signal.Notify, also mage's, would undo it.
var ignored = func() map[os.Signal]bool {
	m := map[os.Signal]bool{}
	for _, s := range caught {
		m[s] = signal.Ignored(s)
	}
	return m
}()

// settled is when mage's own handler of SIGINT is surely installed: mage does
// that after it has started the target's goroutine.
const settled = 50 * time.Millisecond

// Context is ctx until one of the signals arrives or, where mage runs this
// process, until mage has ended. Then the target is to clean up and to end. A
// second Ctrl-C or SIGTERM ends the process at once. stop ends the watching.
func Context(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 8)
	catch(signals, caught...)
	over := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if wait(signals, over) {
			second()
			cancel()
		}
	}()
	return ctx, func() {
		close(over)
		<-done
		cancel()
	}
}

// catch sends signals to c. It takes them from mage's handler, which ends the
// process five seconds later, cleaned up or not.
func catch(c chan<- os.Signal, which ...os.Signal) {
	for _, s := range which {
		signal.Reset(s)
		if ignored[s] {
			signal.Ignore(s)
		} else {
			signal.Notify(c, s)
		}
	}
}

// wait returns true when the target is to end, and false when it is over.
func wait(signals chan os.Signal, over <-chan struct{}) bool {
	again := time.After(settled)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	above, ok := findRunners()
	for ok {
		select {
		case <-signals:
			return true
		case <-over:
			signal.Stop(signals)
			return false
		case <-again:
			catch(signals, syscall.SIGINT)
		case <-look.C:
			ok = above.alive()
		}
	}
	fmt.Fprintln(os.Stderr, "mage, which ran this, has ended: so does this")
	return true
}

// second leaves the default, which is to end at once, to a second Ctrl-C or
// SIGTERM. Not to a second SIGHUP: a terminal that is closed sends it more than
// once, by the shell and by the kernel. Nor to SIGPIPE: whoever reads what we
// say may have got the same signal, as in `fuseless backup | tee log`.
func second() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		if !ignored[s] {
			signal.Reset(s)
		}
	}
}
