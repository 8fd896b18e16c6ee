package bench

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"fuseless/guest/proto"
)

// meterName is the name of a meter; see Become.
const meterName = "fuseless-meter"

// killedAfter is how long a step has to clean up when it is told to end.
const killedAfter = time.Minute

// step is a command of a job.
type step struct {
	Argv   []string
	Dir    string
	Always bool // also when a step before has failed, as what unmounts
}

// String is what a person would type.
func (s step) String() string {
	var words []string
	for _, w := range s.Argv {
		if strings.ContainsAny(w, " '") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// job is what a meter runs: steps, one after the other, and what these leave
// behind.
type job struct {
	Steps []step
	Grace time.Duration // what still runs that long after the last step is killed
}

// usage is what a job took.
type usage struct {
	Wall  time.Duration // from the first step to the end of the last
	CPU   time.Duration // user and system, of all processes that came from the steps
	Left  []string      // names of those that had to be killed
	Error string        // of the first step that failed
}

// metered is a job under way.
type metered struct {
	cmd    *exec.Cmd
	life   *os.File // closed, it tells the meter to end
	report *os.File
	said   *tail
}

// start starts a job. program is this program under the name of a meter, env
// the whole environment of what it runs. inside, unless nil, changes where it
// runs; out, unless nil, gets
// its standard output.
func start(j job, program string, env []string, inside func(*exec.Cmd), out io.Writer) (*metered, error) {
	order, life, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer order.Close()
	report, result, err := os.Pipe()
	if err != nil {
		life.Close()
		return nil, err
	}
	defer result.Close()
	m := &metered{cmd: exec.Command(program), life: life, report: report, said: &tail{}}
	m.cmd.Env = env
	m.cmd.Dir = "/"
	m.cmd.ExtraFiles = []*os.File{order, result}
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal, nor its Ctrl-C
	m.cmd.Stdout, m.cmd.Stderr = m.said, m.said
	if out != nil {
		m.cmd.Stdout = out
	}
	m.cmd.WaitDelay = 10 * time.Second // somebody may hold its standard output
	if inside != nil {
		inside(m.cmd)
	}
	if err = m.cmd.Start(); err == nil {
		if err = json.NewEncoder(life).Encode(j); err == nil {
			return m, nil
		}
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
	}
	life.Close()
	report.Close()
	return nil, proto.Errorf(proto.Internal, "start a command to measure: %w", err)
}

// wait waits for the end of the job, or brings it about when ctx ends. It
// returns an error if a step failed, or if something had to be killed.
func (m *metered) wait(ctx context.Context) (usage, error) {
	stop := context.AfterFunc(ctx, func() { m.life.Close() })
	defer func() {
		stop()
		m.life.Close()
		m.report.Close()
	}()
	var u usage
	rerr := json.NewDecoder(m.report).Decode(&u)
	werr := m.cmd.Wait()
	if errors.Is(werr, exec.ErrWaitDelay) {
		werr = nil
	}
	switch {
	case ctx.Err() != nil:
		return u, ctx.Err()
	case rerr != nil || werr != nil:
		return u, proto.Errorf(proto.Internal, "measure a command: %w: %s", errors.Join(rerr, werr), *m.said)
	case u.Error != "":
		return u, proto.Errorf(proto.Different, "%s: %s", u.Error, *m.said)
	case len(u.Left) > 0:
		return u, proto.Errorf(proto.Different, "still running after its end, and killed: %s", strings.Join(u.Left, ", "))
	}
	return u, nil
}

// tail keeps the last 2 KiB.
type tail []byte

func (t *tail) Write(b []byte) (int, error) {
	*t = append(*t, b...)
	*t = (*t)[max(len(*t)-2048, 0):]
	return len(b), nil
}

func (t tail) String() string { return string(t) }
