package bridge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

const (
	readyTime = 15 * time.Second // for a daemon to listen
	stopTime  = 10 * time.Second // for a daemon to end; proc gives an ssh 5 s
)

// Spawn starts self, the task binary, as a daemon that listens on socket for
// sessions with r, and returns its pid once it is ready. A daemon that runs
// there for the same r is left running; one for another r is replaced. Its log
// goes to logFile, which is emptied first.
//
// The daemon runs in a session of its own until Stop, and the end of ctx only
// ends the waiting for it.
func Spawn(ctx context.Context, self string, r Remote, socket, logFile string, vm *VM) (pid int, err error) {
	if err := r.Check(); err != nil {
		return 0, err
	}
	if s, ok := readState(socket); ok && s.Remote == r && s.VM.is(vm) {
		return s.PID, nil
	}
	if err := Stop(ctx, socket); err != nil {
		return 0, err
	}
	in, err := json.Marshal(params{Remote: r, Socket: socket, VM: vm})
	if err != nil {
		return 0, err
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, proto.Errorf(proto.Internal, "%w", err)
	}
	defer log.Close()
	out, w, err := os.Pipe()
	if err != nil {
		return 0, proto.Errorf(proto.Internal, "%w", err)
	}
	defer out.Close()

	// Not by proc: it must not die with ctx, and needs an argv[0] of its own.
	cmd := &exec.Cmd{
		Path:        self,
		Args:        []string{Name},
		Dir:         "/", // holds no mount busy
		Env:         proc.Environ(),
		Stdin:       bytes.NewReader(in),
		Stdout:      w,
		Stderr:      log,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return 0, proto.Errorf(proto.Internal, "start %s: %w", Name, err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // so that it is no zombie while this process lives
		close(ended)
	}()
	if err := awaitReady(ctx, out); err != nil {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(stopTime):
			_ = cmd.Process.Kill()
		}
		return 0, err
	}
	return cmd.Process.Pid, nil
}

// awaitReady reads the daemon's answer.
func awaitReady(ctx context.Context, out *os.File) error {
	_ = out.SetReadDeadline(time.Now().Add(readyTime))
	defer context.AfterFunc(ctx, func() { _ = out.SetReadDeadline(time.Now()) })()
	line, err := bufio.NewReader(io.LimitReader(out, 64<<10)).ReadBytes('\n')
	if ctx.Err() != nil {
		return proto.Errorf(proto.Interrupted, "start %s: %w", Name, ctx.Err())
	}
	if err != nil {
		return proto.Errorf(proto.Internal, "%s did not start: %w", Name, err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return proto.Errorf(proto.Internal, "%s did not start: %w", Name, err)
	}
	if !a.Ready {
		return &proto.Error{Code: a.Code, Message: a.Message, Hint: a.Hint}
	}
	return nil
}

// Running is the pid of the daemon on socket. ok is false if there is none.
func Running(socket string) (pid int, ok bool) {
	s, ok := readState(socket)
	if !ok {
		return 0, false
	}
	return s.PID, true
}

// Stop ends the daemon on socket with every ssh of it, and removes what one
// that was killed left behind. That there is none is no error.
func Stop(ctx context.Context, socket string) error {
	if s, ok := readState(socket); ok {
		if err := s.end(ctx); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(filepath.Dir(socket)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := lockFolder(filepath.Dir(socket))
	if err != nil {
		return err
	}
	defer unlock()
	if err := removeKilled(ctx, socket); err != nil {
		return err
	}
	if err := os.Remove(StatePath(socket)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return proto.Errorf(proto.Internal, "%w", err)
	}
	return nil
}

// removeKilled is removeStale for a socket whose daemon has ended. The kernel
// closes the files of a killed process some time after the process table
// calls it a zombie, and until then its socket still answers.
func removeKilled(ctx context.Context, socket string) error {
	_, err := os.Lstat(StatePath(socket))
	daemon := err == nil // else it is somebody's who is alive
	for deadline := time.Now().Add(stopTime); ; {
		err := removeStale(socket)
		if err == nil || !daemon || proto.CodeOf(err) != proto.Busy || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// end ends the process of s: SIGTERM, and SIGKILL if that is of no use.
func (s state) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*stopTime)
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	kill := time.After(stopTime)
	_ = syscall.Kill(s.PID, syscall.SIGTERM)
	_ = syscall.Kill(s.PID, syscall.SIGCONT) // one that is stopped hears of nothing
	for s.alive() {
		select {
		case <-t.C:
		case <-kill:
			// Its ssh processes lose their standard input, and so end too.
			_ = syscall.Kill(s.PID, syscall.SIGKILL)
		case <-ctx.Done():
			return proto.Errorf(proto.Interrupted, "end the bridge with pid %d: %w", s.PID, ctx.Err())
		}
	}
	return nil
}
