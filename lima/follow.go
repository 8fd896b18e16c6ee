package lima

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"fuseless/guest/proc"
)

// followInterval is how often a growing log is looked at.
const followInterval = 200 * time.Millisecond

// follow calls on for each whole line of file, from its beginning, until ctx
// ends or on returns false. The file need not be there yet.
func follow(ctx context.Context, file string, on func(line []byte) bool) {
	var f *os.File
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	var rest []byte
	for {
		if f == nil {
			f, _ = os.Open(file)
		}
		if f != nil {
			b, _ := io.ReadAll(f)
			rest = append(rest, b...)
			for {
				line, after, ok := bytes.Cut(rest, []byte("\n"))
				if !ok {
					break
				}
				rest = after
				if !on(line) {
					return
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// boot is what is known of a VM that starts.
type boot struct {
	i  Instance
	on func(Progress)

	mu       sync.Mutex
	log      bootLog
	errs     []string // of the host agent
	cloud    []string // the last lines of cloud-init's output
	followed bool     // cloud-init's output
	wg       sync.WaitGroup
}

func (b *boot) progress(p Progress) {
	if b.on != nil {
		b.on(p)
	}
}

// watch reports the progress from the logs until ctx ends.
func (b *boot) watch(ctx context.Context) {
	b.wg.Go(func() {
		follow(ctx, b.i.file("ha.stderr.log"), func(line []byte) bool {
			b.logLine(ctx, string(line))
			return true
		})
	})
}

// logLine takes a line of the host agent's log, or of limactl's.
func (b *boot) logLine(ctx context.Context, line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, ok := b.log.line(line); ok {
		b.progress(p)
	}
	if strings.Contains(line, "/ga.sock: connect: no such file") {
		b.wg.Go(func() { b.i.releaseAgentSocket(ctx) })
	}
	if b.log.ssh && !b.followed {
		b.followed = true
		b.wg.Go(func() { b.cloudInit(ctx) })
	}
}

// cloudInit follows the guest's cloud-init output. Lima ends all sessions of
// the guest once while it boots, so it connects again, and goes on behind the
// lines that it has. Its connection is its own: the shared one must not be made
// before that.
func (b *boot) cloudInit(ctx context.Context) {
	const file = "/var/log/cloud-init-output.log"
	for have := 0; ; {
		w := &lineWriter{on: func(line string) {
			have++
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.cloud = append(b.cloud, line); len(b.cloud) > 40 {
				b.cloud = b.cloud[1:]
			}
			b.progress(Progress{CloudInit, line})
		}}
		argv := b.i.sshArgv([]string{"-o", "ControlPath=none", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15"},
			"sudo", "tail", "-n", "+"+strconv.Itoa(have+1), "-F", file)
		_ = proc.Run(ctx, proc.Cmd{Argv: argv, Env: []string{"SSH_AUTH_SOCK="}, Stdout: w})
		select {
		case <-ctx.Done():
			return
		case <-time.After(3 * time.Second):
		}
	}
}

// releaseAgentSocket mends a race of Lima's. With QEMU it forwards the guest
// agent's socket over its shared connection. Where that comes before the guest
// agent, the next try removes the socket's file and asks for the forward again;
// ssh has it already, says yes, and makes no file: the agent is never reached,
// and no port is forwarded. Cancelled, it is made anew by the try after that.
func (i Instance) releaseAgentSocket(ctx context.Context) {
	_, _ = i.ssh(ctx, []string{"ssh", "-F", i.file("ssh.config"), "-O", "cancel",
		"-L", i.file("ga.sock") + ":/run/lima-guestagent.sock", "lima-" + i.Name})
}

// wait waits for the end of what watch began; its context must have ended.
func (b *boot) wait() { b.wg.Wait() }

// lastOutput is the end of cloud-init's output: as followed, else as the VM's
// serial console has it.
func (b *boot) lastOutput() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.cloud); n > 0 {
		return b.cloud[max(0, n-15):]
	}
	logs, _ := filepath.Glob(b.i.file("serial*.log"))
	for _, f := range logs {
		if lines := tailLines(f, 15); len(lines) > 0 {
			return lines
		}
	}
	return nil
}
