//go:build linux

package ops

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// Limits of a probe.
const (
	programTime = 10 * time.Second // for a program to print its version
	remoteTime  = time.Minute      // for the remote; the host's ssh gives up connecting after half of it
	hungTime    = 2 * time.Second  // beyond a look's own limit: then it hangs in the kernel
)

// probe reports what doctor wants to know of the guest. A thing that fails is
// a part of the answer, not the end of the request.
func (r *run) probe(ctx context.Context) error {
	o := r.Probe
	// First of all: the host compares it with the times at which it asked and
	// got the answer.
	res := proto.ProbeResult{Clock: time.Now().UTC(), Kernel: kernel(), Free: -1, Fuse: fuseFault(fuseDevice)}
	if free, known := store.FreeOn(r.state); known {
		res.Free = free
	}
	if s, ok := r.server(); ok {
		res.Server = &proto.ServerStatus{Address: s.Address, Pid: s.Pid}
	}
	if o.Programs {
		for _, p := range programs {
			res.Programs = append(res.Programs, probeProgram(ctx, p))
		}
	}
	for _, s := range o.Sources {
		res.Sources = append(res.Sources, probeSource(ctx, s, defaultLimits))
	}
	if o.Folder != "" {
		res.Folder = probeFolder(o.Folder, o.Again)
	}
	if o.Remote {
		rctx, cancel := context.WithTimeout(ctx, remoteTime)
		defer cancel()
		res.Remote = store.Probe(rctx, r.Destination)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.event(proto.Event{Kind: proto.KindResult, Probe: &res})
	return nil
}

// programs are what the guest runs, with the argument for their version.
var programs = [][2]string{{"gocryptfs", "-version"}, {"sshfs", "-V"}, {"rsync", "--version"}, {"fusermount3", "-V"}}

func probeProgram(ctx context.Context, program [2]string) proto.ProgramProbe {
	p := proto.ProgramProbe{Name: program[0]}
	path, err := exec.LookPath(p.Name)
	if err != nil {
		return p
	}
	p.Path = path
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	var out bytes.Buffer
	// Its status does not matter: what it printed is what counts.
	_ = proc.Run(ctx, proc.Cmd{Argv: []string{path, program[1]}, Stdout: &out, Stderr: &out})
	p.Output = string(bytes.ToValidUTF8(out.Bytes()[:min(out.Len(), 1024)], []byte("?")))
	return p
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

const fuseDevice = "/dev/fuse"

// fuseFault says why the FUSE device cannot be used, or "". To open it is what
// fusermount3 does first: in a container it is often there, and forbidden.
func fuseFault(device string) string {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	f.Close()
	return ""
}

// probeError is err as a part of an answer, with the kernel's name for it.
func probeError(code proto.Code, err error) *proto.ProbeError {
	e := proto.NewProbeError(code, err)
	var n syscall.Errno
	if errors.As(err, &n) {
		e.Errno = unix.ErrnoName(n)
	}
	return e
}

// pathError is err without the path in its text, which e.Path has.
func pathError(code proto.Code, err error, path string) *proto.ProbeError {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	e := probeError(code, err)
	e.Path = []byte(path)
	return e
}

// bounded does f, which may hang in the kernel behind a mount that is dead, in
// a goroutine of its own, and gives up after limit. ok tells that f returned.
func bounded[T any](limit time.Duration, f func() T) (result T, ok bool) {
	done := make(chan T, 1)
	go func() { done <- f() }()
	select {
	case result = <-done:
		return result, true
	case <-time.After(limit):
		return result, false
	}
}
