//go:build linux

package ops

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// sessionFile is what is kept of a running server, in memory and mode 0600.
type sessionFile struct {
	identity
	Writable bool   `json:"writable,omitempty"`
	Address  string `json:"address"`
	User     string `json:"user"`
	Password string `json:"password"`
}

// server returns the running server of this vault.
func (r *run) server() (sessionFile, bool) {
	var s sessionFile
	if !readJSON(r.file("webdav.json"), &s) || !s.alive() {
		return sessionFile{}, false
	}
	return s, true
}

// serve starts the WebDAV server on the view, with a fresh secret. It does
// nothing if the server runs already.
func (r *run) serve(ctx context.Context) error {
	if _, alive, _, err := r.mounted("view"); err != nil {
		return err
	} else if !alive {
		return proto.Errorf(proto.Mount, "the vault %s is not mounted, so there is nothing to serve", r.Vault).
			WithHint("run `fuseless remoteMount serve`, or `fuseless open` for all of it")
	}
	if _, ok := r.server(); ok {
		return nil
	}
	return r.step(ctx, proto.StepServe, func() error { return r.startServer(ctx) })
}

func (r *run) startServer(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var before sessionFile
	if readJSON(r.file("webdav.json"), &before) {
		_ = interruptible(ctx, func() error { before.waitGone(portTime); return nil })
	}
	secret := make([]byte, 24)
	rand.Read(secret)
	s := sessionFile{User: "fuseless", Password: hex.EncodeToString(secret)}
	s.Writable = r.viewWritable()
	options := []string{"-read-only", "-runs", r.dir}
	switch {
	case s.Writable && r.RefuseMacNoise:
		options = []string{"-refuse-mac-noise"}
	case s.Writable:
		options = nil
	}
	var files []*os.File
	if key := r.keptNameKey(); key != nil {
		defer key.Close()
		files = append(files, key)
		options = append(options, "-vault", r.remotePath(), "-name-key", "/dev/fd/4") // after the credentials
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	d, err := proc.StartDaemon(proc.Cmd{
		Argv: append([]string{
			self, "webdav", "-root", r.viewPath(), "-listen", net.JoinHostPort("127.0.0.1", strconv.Itoa(r.Port)),
			"-credentials", "/dev/fd/3",
		}, options...),
		Secrets: [][]byte{[]byte(s.User + ":" + s.Password + "\n")},
		Files:   files,
		Stdout:  in,
	}, r.log("webdav"))
	in.Close()
	if err != nil {
		return proto.Errorf(proto.Serve, "cannot start the WebDAV server: %w", err)
	}
	s.identity = identify(d.Pid)
	if s.Address, err = readAddress(ctx, out, d); err != nil {
		d.Kill()
		return err
	}
	if err := writeJSON(r.file("webdav.json"), s); err != nil {
		d.Kill()
		return err
	}
	return nil
}

// portTime is how long a server that was killed may keep its port: until a mount that answers has
// answered it.
const portTime = 10 * time.Second

// readAddress waits for the server's `listening on ADDR`.
func readAddress(ctx context.Context, out *os.File, d *proc.Daemon) (string, error) {
	line := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(out).ReadString('\n')
		line <- s
	}()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case s := <-line:
		if a, ok := strings.CutPrefix(strings.TrimSpace(s), "listening on "); ok {
			return a, nil
		}
		err := <-d.Ended
		if proc.ExitCode(err) == int(proto.Serve) {
			hint := "another program has the port: choose another `port` in fuseless.yaml, or stop that program"
			if !strings.Contains(proc.Stderr(err), "address already in use") {
				hint = "run `fuseless down`, and then this again"
			}
			return "", proto.Errorf(proto.Serve, "cannot start the WebDAV server: %s", lastLine(proc.Stderr(err))).WithHint("%s", hint)
		}
		return "", proto.Errorf(proto.Serve, "cannot start the WebDAV server: %w", err)
	case <-ctx.Done():
		return "", fmt.Errorf("the WebDAV server did not start: %w", ctx.Err())
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for _, l := range lines {
		if !strings.HasPrefix(l, "hint:") && strings.TrimSpace(l) != "" {
			return strings.TrimSpace(l)
		}
	}
	return "it ended"
}

// unserve stops the server.
func (r *run) unserve(ctx context.Context) error {
	if _, ok := r.server(); !ok {
		_ = os.Remove(r.file("webdav.json"))
		return nil
	}
	return r.step(ctx, proto.StepUnserve, func() error {
		r.stopServer()
		return nil
	})
}

func (r *run) stopServer() {
	if s, ok := r.server(); ok {
		// Not even SIGKILL ends a request that a mount has taken and does not
		// answer: the mount has to end first. `remoteMount` makes it again.
		r.endHung()
		_ = syscall.Kill(s.Pid, syscall.SIGTERM)
		if s.Writable {
			pidfdWait(s.Pid, changeTime)
		}
		s.end()
		s.waitGone(time.Second)
	}
	_ = os.Remove(r.file("webdav.json"))
}

// changeTime is how long a server may finish what it is changing: it syncs that over
// the link. Killed later, it leaves each file as it was or as it was to be.
const changeTime = 10 * time.Second

// session hands out what a client needs to reach the server.
func (r *run) session() error {
	s, ok := r.server()
	if !ok {
		return proto.Errorf(proto.Serve, "the vault %s is not being served", r.Vault).
			WithHint("run `fuseless open`: it does whatever is missing")
	}
	r.event(proto.Event{Kind: proto.KindResult, Session: &proto.Session{
		Address: s.Address, User: s.User, Password: proto.Secret(s.Password), Writable: s.Writable,
	}})
	return nil
}
