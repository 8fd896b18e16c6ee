package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fuseless/guest/proto"
)

// server is a way to read what lies on the remote, over WebDAV.
type server struct {
	name  string
	few   bool // it takes minutes for a thousand files, and gets a tenth
	steps []step
	wait  time.Duration // for it to listen; 0: serverWait
	addr  string

	// credentials are the user and the password, once the server listens; nil:
	// it asks for none. An error says that it does not serve yet.
	credentials func(context.Context) (user, password string, err error)
}

// The names of what is measured by `bench remote`. The ratios are those of the
// first.
const (
	ours    = "fuseless"
	oursVM  = "fuseless, Lima VM" // takes long, and is measured only when asked for
	rclone  = "rclone"
	obvious = "obvious"
	sshCat  = "ssh cat" // no server: the link's own speed
)

var readers = []string{ours, rclone, obvious, sshCat}

const peerAddr = "127.0.0.1:8080" // in the lab's network

// rcloneConfig is a crypt over the sftp of the place's remote, and the same crypt
// over the remote's folder itself, by which it is filled.
const rcloneConfig = `[far]
type = sftp
host = %[1]s
port = %[2]d
user = root
key_file = %[3]s
known_hosts_file = %[4]s

[crypt]
type = crypt
remote = far:%[5]s
password = %[6]s

[filled]
type = crypt
remote = %[5]s
password = %[6]s
`

// stock fills the remote with the library: as a vault, as an rclone crypt, and
// the film as it is. At last everything that a server may have of it is down.
func (p *place) stock(ctx context.Context, f *far, program string, l *library) error {
	if err := p.rcloneCrypt(ctx, f); err != nil {
		return err
	}
	if err := p.configure(f.config, farAlias+":"+p.path("remote/vault")); err != nil {
		return err
	}
	if err := os.WriteFile(p.path("remote/film"), l.film, 0o600); err != nil {
		return proto.Errorf(proto.NoSpace, "cannot make the files: %w", err)
	}
	_, err := p.run(ctx, nil, nil, nil,
		step{Argv: []string{program, "init"}},
		step{Argv: []string{program, "backup"}},
		step{Argv: []string{program, "down"}, Always: true},
		// It cannot store the long names.
		step{Argv: []string{"rclone", "--config", p.path("rclone.conf"), "copy", "--exclude", longFolder + "/**", l.dir, "filled:"}})
	return err
}

// rcloneCrypt configures rclone.
func (p *place) rcloneCrypt(ctx context.Context, f *far) error {
	obscured := &strings.Builder{}
	if _, err := p.run(ctx, nil, nil, obscured, step{Argv: []string{"rclone", "obscure", "noise"}}); err != nil {
		return err
	}
	return os.WriteFile(p.path("rclone.conf"), fmt.Appendf(nil, rcloneConfig, f.lab.RemoteAddr(), farPort,
		p.path("sshd/key"), p.path("sshd/known_hosts"), p.path("remote/crypt"), strings.TrimSpace(obscured.String())), 0o600)
}

// newServer is a server in p, of what stock has stocked f with. program is the
// task binary.
func newServer(name string, p *place, f *far, program string) (server, error) {
	switch name {
	case ours:
		return server{name: name, addr: "127.0.0.1:9843", credentials: p.session, steps: []step{
			{Argv: []string{program, "remoteMount", "serve"}},
			{Argv: []string{"sleep", "infinity"}},
			{Argv: []string{program, "down"}, Always: true},
		}}, nil
	case oursVM:
		return p.vm.server(p), nil
	case rclone:
		return server{name: name, addr: peerAddr, steps: []step{
			{Argv: []string{"rclone", "--config", p.path("rclone.conf"), "serve", "webdav", "--addr", peerAddr, "crypt:"}},
		}}, nil
	case obvious:
		vault, view := p.path("obvious-vault"), p.path("obvious-view")
		return server{name: name, addr: peerAddr, few: true, steps: []step{
			{Argv: []string{"sshfs", "-F", f.config, farAlias + ":" + p.path("remote/vault"), vault}},
			{Argv: []string{"gocryptfs", "-quiet", "-ro", "-passfile", p.secret(), vault, view}},
			{Argv: []string{filepath.Join(p.mem, obviousName), view, peerAddr}},
			{Argv: []string{"fusermount3", "-u", view}, Always: true},
			{Argv: []string{"fusermount3", "-uz", vault}, Always: true}, // gocryptfs may be about to end
		}}, nil
	}
	return server{}, proto.Errorf(proto.Config, "there is no reader %q", name)
}

// session is what the place's running WebDAV server asks for.
func (p *place) session(context.Context) (user, password string, err error) {
	files, _ := filepath.Glob(filepath.Join(p.mem, "fuseless/*/*/webdav.json"))
	if len(files) != 1 {
		return "", "", proto.Errorf(proto.Internal, "the session of the WebDAV server is not where it is to be: %q", files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		return "", "", err
	}
	return parseSession(b)
}

// parseSession reads a proto.Session.
func parseSession(b []byte) (user, password string, err error) {
	var s proto.Session
	err = json.Unmarshal(b, &s)
	return s.User, string(s.Password), err
}
