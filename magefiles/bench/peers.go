package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"fuseless/guest/proto"
)

// What only `bench local` measures.
const (
	nginx  = "nginx"
	apache = "apache"
)

var localReaders = []string{ours, obvious, rclone, nginx, apache}

// nobody is whom apache serves as, which refuses to be root: its user and group on any Linux.
const nobody = 65534

// nginxConfig has what Debian's nginx.conf has (workers, sendfile, tcp_nopush), what
// WebDAV needs, no end of a connection after 1,000 requests, and bodies of more than 1 MiB.
const nginxConfig = `daemon off;
user root;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr;
%[2]s
events { worker_connections 768; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_max_body_size 0;
  types { image/jpeg jpg; text/plain txt; }
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server {
    listen %[3]s;
    root %[4]s;
    dav_methods PUT DELETE MKCOL COPY MOVE;
    dav_ext_methods PROPFIND OPTIONS;
  }
}
`

// apacheConfig is Debian's, as far as it is of WebDAV, with the event MPM at its defaults,
// and no end of a connection after 100 requests.
const apacheConfig = `ServerRoot %[1]s
ServerName localhost
Listen %[3]s
PidFile %[1]s/apache.pid
DefaultRuntimeDir %[1]s
Mutex file:%[1]s default
ErrorLog /dev/null
%[2]s
User #%[5]d
Group #%[5]d
MaxKeepAliveRequests 0
TypesConfig %[1]s/types
DavLockDB %[1]s/lock/db
DocumentRoot %[4]s
<Directory />
  Options FollowSymLinks
  AllowOverride None
</Directory>
<Directory %[4]s>
  Dav On
  Require all granted
</Directory>
`

// freeAddr is an address of loopback on which nobody listens.
func freeAddr(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// guestServer is the guest binary's server of a folder, with more arguments; without
// -read-only, it is written to.
func (p *place) guestServer(guest, dir, addr string, more ...string) (server, error) {
	file := filepath.Join(p.mem, "credentials")
	secret, err := os.ReadFile(p.secret())
	if err != nil {
		return server{}, err
	}
	password := strings.TrimSpace(string(secret))
	return server{
		name: ours, addr: addr,
		credentials: func(context.Context) (string, string, error) { return "fuseless", password, nil },
		steps:       []step{{Argv: append([]string{guest, "webdav", "-root", dir, "-listen", addr, "-credentials", file}, more...)}},
	}, os.WriteFile(file, []byte("fuseless:"+password+"\n"), 0o600)
}

// newLocalServer is a server of the folder dir of this machine. guest is the guest
// binary, u what was unpacked.
func newLocalServer(ctx context.Context, name string, p *place, dir, guest string, u *unpacked, writing bool) (server, error) {
	addr, err := freeAddr(ctx)
	if err != nil {
		return server{}, err
	}
	s := server{name: name, addr: addr}
	var argv []string
	switch name {
	case ours:
		if writing {
			return p.guestServer(guest, dir, addr)
		}
		return p.guestServer(guest, dir, addr, "-read-only") // as ops.startServer starts it
	case obvious:
		argv = []string{filepath.Join(p.mem, obviousName), dir, addr}
	case rclone:
		argv = []string{"rclone", "serve", "webdav", "--addr", addr, dir}
	case nginx:
		argv, err = p.nginx(u, dir, addr)
	case apache:
		argv, err = p.apache(u, dir, addr)
	default:
		err = proto.Errorf(proto.Config, "there is no reader %q", name)
	}
	s.steps = []step{{Argv: argv}}
	return s, err
}

func (p *place) nginx(u *unpacked, dir, addr string) ([]string, error) {
	program, err := u.find("usr/sbin/nginx")
	if err != nil {
		return nil, err
	}
	module, err := u.find("usr/lib/nginx/modules/ngx_http_dav_ext_module.so")
	if err != nil {
		return nil, err
	}
	at := p.path(nginx)
	if err := os.MkdirAll(at, 0o700); err != nil {
		return nil, err
	}
	conf := filepath.Join(at, "nginx.conf")
	text := fmt.Sprintf(nginxConfig, at, "load_module "+module+";", addr, dir)
	return u.argv(program, "-p", at, "-e", "stderr", "-c", conf), os.WriteFile(conf, []byte(text), 0o600)
}

func (p *place) apache(u *unpacked, dir, addr string) ([]string, error) {
	program, err := u.find("usr/sbin/apache2")
	if err != nil {
		return nil, err
	}
	at := p.path(apache)
	if err := os.MkdirAll(filepath.Join(at, "lock"), 0o755); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(at, "lock"), nobody, nobody); err != nil {
			return nil, err
		}
	}
	load := ""
	for _, m := range []string{"mpm_event", "authz_core", "mime", "dav", "dav_fs"} {
		module, err := u.find("usr/lib/apache2/modules/mod_" + m + ".so")
		if err != nil {
			return nil, err
		}
		load += "LoadModule " + m + "_module " + module + "\n"
	}
	if err := os.WriteFile(filepath.Join(at, "types"), []byte("image/jpeg jpg\ntext/plain txt\n"), 0o644); err != nil {
		return nil, err
	}
	conf := filepath.Join(at, "apache2.conf")
	text := fmt.Sprintf(apacheConfig, at, load, addr, dir, nobody)
	return u.argv(program, "-d", at, "-f", conf, "-D", "FOREGROUND"), os.WriteFile(conf, []byte(text), 0o600)
}

// argv runs a program with the unpacked libraries.
func (u *unpacked) argv(argv ...string) []string {
	if l := u.libraries(); l != "" {
		argv = append([]string{"env", "LD_LIBRARY_PATH=" + l}, argv...)
	}
	return argv
}
