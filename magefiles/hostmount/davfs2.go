package hostmount

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// BackupDir is the folder that davfs2 shows in the root of every mount, with
// the files it could not upload. Its default is "lost+found", which would hide
// a real one: that of a source which is the root of a disk.
const BackupDir = ".davfs2-lost+found"

// How long davfs2 waits for the server's next byte (read_timeout) before it
// gives a request up. The answer to a PUT comes once the file is durable, behind
// a slow link maybe; a PUT given up would be reported as lost although it arrived.
const (
	readTimeout  = 60 * time.Second
	writeTimeout = 5 * time.Minute
)

// davfsConf is the davfs2.conf(5) for spec, with the cache in cacheDir.
//
// There is no secrets file: mount.davfs would insist that it belongs to root,
// and it would be one more copy of the password. See davfsArgv.
func davfsConf(spec Spec, cacheDir string) string {
	locks, timeout := 1, writeTimeout
	if spec.ReadOnly {
		locks, timeout = 0, readTimeout
	}
	var b strings.Builder
	for _, o := range []struct {
		name  string
		value any
	}{
		{"ask_auth", 0},
		// In KiB. With the default of 16 every ls fails with EINVAL on Linux 6.18.
		{"buf_size", 256},
		{"cache_dir", quote(cacheDir)},
		{"backup_dir", quote(BackupDir)},
		{"cache_size", 64}, // in MiB, of memory: the cache is on tmpfs
		// With a delay, cp and sync return before anything is on the server.
		{"delay_upload", 0},
		{"use_locks", locks},
		// davfs2 takes over the locks of its lock_owner, by default the user: two mounts of
		// one server would write into each other's files. One that was killed and is mounted
		// again has the same mountpoint, and so its locks.
		{"lock_owner", "fuseless-" + key(spec.Mountpoint)},
		{"gui_optimize", 1},   // one PROPFIND for a folder's files, not one per file
		{"table_size", 16384}, // entries; backups are larger than the default of 1024
		{"follow_redirect", 0},
		// In seconds. The server is on loopback; what lies behind it may be slow.
		{"connect_timeout", 5},
		{"read_timeout", int(timeout.Seconds())},
		{"retry", 5},
		{"max_retry", 30},
	} {
		fmt.Fprintf(&b, "%s %v\n", o.name, o.value)
	}
	return b.String()
}

// quote is s as a value in davfs2.conf: in double quotes, with " and \ escaped
// (davfs2.conf(5), general syntax rules).
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// davfsArgv is the command that mounts spec for the user uid and the group gid.
//
// With the option username= mount.davfs reads the password from standard input
// and looks into no secrets file (mount.davfs(8)). The modes keep other users
// out: davfs2 always mounts with allow_other, and its daemon runs as a user of
// its own, so the mountpoint's former mode no longer protects anything.
func davfsArgv(spec Spec, conf string, uid, gid int) []string {
	opts := []string{"conf=" + conf, "username=" + spec.User, fmt.Sprintf("uid=%d", uid), fmt.Sprintf("gid=%d", gid),
		"file_mode=600", "dir_mode=700", "nosuid", "nodev"}
	if spec.ReadOnly {
		opts = append(opts, "ro")
	}
	return []string{"mount.davfs", "-o", strings.Join(opts, ","), spec.URL, spec.Mountpoint}
}

// noProxy keeps mount.davfs from sending the password to a proxy: as root it
// obeys these variables even for 127.0.0.1. An empty http_proxy hides the others.
var noProxy = []string{"http_proxy=", "https_proxy=", "all_proxy=", "no_proxy=*"}

// systemConf is what matters of /etc/davfs2/davfs2.conf, which mount.davfs
// reads before ours and which alone may say these things.
type systemConf struct {
	group string // of the daemon; it needs access to the cache
	proxy string // would be sent every request, and so the password
}

func parseSystemConf(r io.Reader) systemConf {
	c := systemConf{group: "davfs2"}
	useProxy := true
	s := bufio.NewScanner(r)
	for s.Scan() {
		line, _, _ := strings.Cut(s.Text(), "#")
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		switch v := strings.Trim(f[1], `"`); f[0] {
		case "dav_group":
			c.group = v
		case "proxy":
			c.proxy = v
		case "use_proxy":
			useProxy = v != "0"
		}
	}
	if !useProxy {
		c.proxy = ""
	}
	return c
}

// gioCommand mounts the server without root's rights, for the user's own
// programs. It asks for the session's password.
func gioCommand(spec Spec) string {
	u, err := url.Parse(spec.URL)
	if err != nil {
		return "gio mount " + spec.URL
	}
	u.Scheme, u.User = "dav", url.User(spec.User)
	return "gio mount " + u.String()
}
