//go:build linux

package main_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"fuseless/guest/mounts"
	"fuseless/guest/proto"
)

// call is one run of rsync on the side of the source, which a backup calls a
// pass.
type call struct {
	pass    string // kind and number, from 1, of this one in a call of the task binary
	ended   bool   // it has done its work and is about to end
	argv    []string
	pid     int    // of the task binary
	content string // what it copies from, without the slash at the end
}

// kind is what a pass is for. How many there are depends on the version of
// gocryptfs.
func (c call) kind() string {
	argv := strings.Join(c.argv, " ")
	switch {
	case strings.Contains(argv, " --dry-run "):
		return "look"
	case strings.Contains(argv, "gocryptfs.longname"):
		return "own files"
	case strings.Contains(argv, " --existing "):
		return "times"
	}
	return "send"
}

// after is what a hook answers to be called again when this rsync has done its
// work.
const after = "after"

// hooked runs targets with an rsync before the real one on PATH, which waits
// for hook before each of its runs. What hook returns are more options for it,
// or after.
func (l *lab) hooked(hook func(c call) string, args ...string) result {
	l.t.Helper()
	real, err := exec.LookPath("rsync")
	must(l.t, err)
	must(l.t, os.MkdirAll(l.path("hooks"), 0o700))
	bin, err := os.MkdirTemp(l.path("hooks"), "")
	must(l.t, err)
	told, reply := filepath.Join(bin, "told"), filepath.Join(bin, "reply")
	must(l.t, os.WriteFile(filepath.Join(bin, "rsync"), fmt.Appendf(nil, `#!/bin/sh
case " $* " in *" --archive "*) ;; *) exec %[1]s "$@" ;; esac
tell() {
	{ printf '%%s\037' "$@"; echo; } > %[2]q
	read -r reply < %[3]q
}
tell before "$@"
if [ "$reply" = after ]; then
	%[1]s "$@"
	code=$?
	tell after "$@"
	exit $code
fi
exec %[1]s $reply "$@"
`, real, told, reply), 0o700))
	for _, p := range []string{told, reply} {
		must(l.t, syscall.Mkfifo(p, 0o600))
	}
	if l.as != nil {
		for _, p := range append(filesBelow(l.path("hooks")), l.path("hooks")) {
			must(l.t, os.Chown(p, int(l.as.Uid), int(l.as.Gid)))
		}
	}
	// Open at both ends, neither side waits for the other to open it.
	tells, err := os.OpenFile(told, os.O_RDWR|syscall.O_NONBLOCK, 0)
	must(l.t, err)
	defer tells.Close()
	replies, err := os.OpenFile(reply, os.O_RDWR, 0)
	must(l.t, err)
	defer replies.Close()

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := l.command(ctx, args...)
	c.Env = append(c.Env, "PATH="+bin+":"+os.Getenv("PATH"))
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	must(l.t, c.Start())
	lines, end := make(chan string), make(chan error, 1)
	go func() {
		for s := bufio.NewScanner(tells); s.Scan(); {
			select {
			case lines <- s.Text():
			case <-ctx.Done():
			}
		}
	}()
	go func() { end <- c.Wait() }()
	count := map[string]int{}
	for {
		select {
		case line := <-lines:
			argv := strings.Split(strings.TrimSuffix(line, "\037"), "\037")
			k := call{ended: argv[0] == "after", argv: argv[1:], pid: c.Process.Pid}
			k.content = strings.TrimSuffix(argv[len(argv)-2], "/")
			if !k.ended {
				count[k.kind()]++
			}
			k.pass = fmt.Sprint(k.kind(), " ", count[k.kind()])
			_, err := io.WriteString(replies, hook(k)+"\n")
			must(l.t, err)
		case err := <-end:
			r := result{stdout.String(), stderr.String(), exitCode(l.t, err)}
			if ctx.Err() != nil {
				l.t.Fatalf("fuseless %v did not end: %s", args, r)
			}
			return r
		}
	}
}

// line is a question on a terminal and its answer.
type line struct {
	question  string
	meanwhile func() // is done while the question waits
	answer    string
}

// talk runs targets on a terminal of their own and answers the questions, which
// are to come one after the other.
func (l *lab) talk(lines []line, args ...string) (shown string, code proto.Code) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := l.command(ctx, args...)
	c.SysProcAttr.Setctty = true
	tty, err := pty.StartWithAttrs(c, &pty.Winsize{Rows: 40, Cols: 200}, c.SysProcAttr)
	must(l.t, err)
	defer tty.Close()
	read := 0
	buf := make([]byte, 4096)
	for {
		n, err := tty.Read(buf)
		shown += string(buf[:n])
		if len(lines) > 0 && strings.Contains(shown[read:], lines[0].question) {
			read = len(shown)
			if lines[0].meanwhile != nil {
				lines[0].meanwhile()
			}
			_, werr := io.WriteString(tty, lines[0].answer+"\n")
			must(l.t, werr)
			lines = lines[1:]
		}
		if err != nil { // EIO when the last process has closed its side
			break
		}
	}
	code = exitCode(l.t, c.Wait())
	for _, q := range lines {
		l.t.Errorf("fuseless %v did not ask %q, and ended with %d: %s", args, q.question, code, shown)
	}
	return shown, code
}

// localLab makes a lab whose destination is a folder of this machine.
func localLab(t *testing.T) *lab {
	t.Helper()
	l := emptyLab(t)
	l.ssh, l.alias = "/dev/null", "nowhere"
	must(t, os.Mkdir(filepath.Dir(l.vault), 0o700))
	l.configureLocal(l.vault)
	return l
}

// configureLocal writes fuseless.yaml with a local destination.
func (l *lab) configureLocal(destination string) {
	l.t.Helper()
	l.configure()
	b, err := os.ReadFile(l.configFile())
	must(l.t, err)
	was := fmt.Sprintf("destination: %s:backup/%s", l.alias, vaultName)
	if !bytes.Contains(b, []byte(was)) {
		l.t.Fatalf("no %q in %s", was, b)
	}
	must(l.t, os.WriteFile(l.configFile(), bytes.Replace(b, []byte(was), fmt.Appendf(nil, "destination: %q", destination), 1), 0o600))
}

// nothingMounted fails if anything of the lab is.
func (l *lab) nothingMounted() {
	l.t.Helper()
	if points, err := mounts.Below(l.mem); err != nil || len(points) > 0 {
		l.t.Errorf("still mounted: %v (%v)", points, err)
	}
}

// says fails if a result does not end with a code or does not say something.
func (l *lab) says(r result, want proto.Code, parts ...string) {
	l.t.Helper()
	if r.code != want {
		l.t.Fatalf("want %d (%s), got %s", want, want, r)
	}
	for _, p := range parts {
		if !strings.Contains(r.stderr, p) {
			l.t.Errorf("it does not say %q: %s", p, r.stderr)
		}
	}
}
