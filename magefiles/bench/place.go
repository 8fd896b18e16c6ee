package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"fuseless/guest/proto"
)

// lingerTime is how long what a command started may run on after its end.
const lingerTime = 30 * time.Second

// place is a machine in a folder: all that a benchmark makes is below dir and
// mem.
type place struct {
	dir   string // on disk
	mem   string // on tmpfs, with a short name, as sockets want it: the runtime folder, and the secret
	meter string

	inside func(*exec.Cmd) // where commands run; nil: on this machine's network
	vm     *machineVM      // nil: nothing is measured through one
}

func errSystem() error {
	return proto.Errorf(proto.Prerequisite, "the benchmarks read /proc and make network namespaces, so they need Linux, and this is %s", runtime.GOOS)
}

// newPlace makes a place in the folder temp, or in the one for temporary files
// if that is "". Remove it.
func newPlace(temp string) (p *place, err error) {
	if runtime.GOOS != "linux" {
		return nil, errSystem()
	}
	p = &place{}
	defer func() {
		if err != nil {
			os.RemoveAll(p.dir)
			os.RemoveAll(p.mem)
		}
	}()
	if p.dir, err = os.MkdirTemp(temp, "fuseless-bench-"); err != nil {
		return nil, proto.Errorf(proto.NoSpace, "cannot make a folder for the benchmark: %w", err)
	}
	if p.mem, err = os.MkdirTemp("/dev/shm", fmt.Sprintf("fuseless-bench-%d-", os.Getpid())); err != nil {
		return nil, proto.Errorf(proto.NoSpace, "cannot make a folder for the benchmark: %w", err)
	}
	if err = p.mkdir("home", "source", "remote"); err != nil {
		return nil, err
	}
	// Nobody needs to know it, and what it protects is noise.
	secret := make([]byte, 16)
	rand.Read(secret)
	if err = os.WriteFile(p.secret(), []byte(hex.EncodeToString(secret)+"\n"), 0o600); err != nil {
		return nil, err
	}
	p.meter, err = p.under(meterName)
	return p, err
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

// secret is the file with the passphrase, for `cat` to print.
func (p *place) secret() string { return filepath.Join(p.mem, "secret") }

func (p *place) mkdir(names ...string) error {
	for _, n := range names {
		if err := os.Mkdir(p.path(n), 0o700); err != nil {
			return proto.Errorf(proto.NoSpace, "cannot make a folder for the benchmark: %w", err)
		}
	}
	return nil
}

// env is the whole environment of a command, but for more.
func (p *place) env(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + p.path("home"),
		"XDG_RUNTIME_DIR=" + p.mem, "LC_ALL=C.UTF-8"}, more...)
}

// run runs steps, and measures them. peak, unless nil, gets their memory; out,
// unless nil, what they print.
func (p *place) run(ctx context.Context, env []string, peak *peaks, out io.Writer, steps ...step) (usage, error) {
	for i := range steps {
		if steps[i].Dir == "" {
			steps[i].Dir = p.dir
		}
	}
	m, err := start(job{Steps: steps, Grace: lingerTime}, p.meter, p.env(env...), p.inside, out)
	if err != nil {
		return usage{}, err
	}
	if peak != nil {
		w := watch(m.cmd.Process.Pid)
		defer func() {
			w.stop()
			*peak = *w
		}()
	}
	return m.wait(ctx)
}

// remove removes everything, also what is mounted there.
func (p *place) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, dir := range []string{p.dir, p.mem} {
		if err := unmountBelow(ctx, dir); err != nil {
			return err // remove nothing that can be seen through a mount
		}
	}
	for _, dir := range []string{p.dir, p.mem} {
		if err := os.RemoveAll(dir); err != nil {
			return proto.Errorf(proto.Internal, "remove the benchmark's folder: %w", err)
		}
	}
	return nil
}
