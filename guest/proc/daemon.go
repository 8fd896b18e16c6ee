package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxLog is the size, in bytes, at which a log is begun anew.
const maxLog = 1 << 20

// Daemon is a process that may outlive this one.
type Daemon struct {
	Pid   int
	Ended <-chan error // receives how it ended, once; an *ExitError for a status other than 0
	log   string
	start int64 // length of the log when it was started
}

// StartDaemon starts cmd in a session of its own, with its output appended to
// the file log (mode 0600), and lets it live on when this process ends. The
// caller waits for its readiness, and calls Kill if that does not come.
// cmd.Stdout, if it is an *os.File, is used instead of the log.
func StartDaemon(cmd Cmd, log string) (*Daemon, error) {
	if fi, err := os.Stat(log); err == nil && fi.Size() > maxLog {
		_ = os.Remove(log) // a daemon that still writes to it keeps its own
	}
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer out.Close()
	c := exec.Command(cmd.Argv[0], cmd.Argv[1:]...)
	c.Dir = "/"
	c.Env = append(Environ(), cmd.Env...)
	c.Stdout, c.Stderr = out, out
	if f, ok := cmd.Stdout.(*os.File); ok {
		c.Stdout = f
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	for _, s := range cmd.Secrets {
		r, err := secretPipe(s)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		c.ExtraFiles = append(c.ExtraFiles, r)
	}
	c.ExtraFiles = append(c.ExtraFiles, cmd.Files...)
	d := &Daemon{log: log}
	if fi, err := out.Stat(); err == nil {
		d.start = fi.Size()
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Argv[0]), err)
	}
	d.Pid = c.Process.Pid
	ended := make(chan error, 1)
	d.Ended = ended
	go func() {
		err := c.Wait()
		var x *exec.ExitError
		if errors.As(err, &x) {
			err = &ExitError{Name: filepath.Base(cmd.Argv[0]), Code: x.ExitCode(), Stderr: d.Output(), Err: err}
		} else if err == nil {
			err = &ExitError{Name: filepath.Base(cmd.Argv[0]), Stderr: d.Output(), Err: errors.New("ended")}
		}
		ended <- err
		close(ended)
	}()
	return d, nil
}

// Output is what the daemon logged, at most the first MiB of it.
func (d *Daemon) Output() string {
	f, err := os.Open(d.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	if _, err := f.Seek(d.start, io.SeekStart); err != nil {
		return ""
	}
	var b bytes.Buffer
	_, _ = io.Copy(&b, io.LimitReader(f, 1<<20))
	return strings.ToValidUTF8(b.String(), "?")
}

// Kill ends the daemon and its process group: SIGTERM, and SIGKILL after five
// seconds. It returns when the daemon is gone.
func (d *Daemon) Kill() {
	_ = syscall.Kill(-d.Pid, syscall.SIGTERM)
	select {
	case <-d.Ended:
	case <-time.After(grace):
		_ = syscall.Kill(-d.Pid, syscall.SIGKILL)
		<-d.Ended
	}
}
