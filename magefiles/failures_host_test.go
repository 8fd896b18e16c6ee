//go:build linux

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"fuseless/guest/proto"
)

// hides runs the target where a program is missing, for it and what it starts:
// a folder for administrators is searched even if it is not on PATH.
func hides(program string) func(l *lab) func() {
	return func(l *lab) func() {
		env := l.env
		l.env = append(l.env[:len(l.env):len(l.env)], "PATH="+pathBefore)
		real, err := exec.LookPath(program)
		must(l.t, err)
		if program == "gocryptfs" {
			real = realGocryptfs
		}
		l.before = []string{"unshare", "--mount", "sh", "-c", `mount --bind /dev/null "$0" && exec "$@"`, real}
		return func() { l.before, l.env = nil, env }
	}
}

// whileServed is setup while the view is served.
func whileServed(setup func(l *lab) func()) func(l *lab) func() {
	return func(l *lab) func() {
		down := served(l)
		mend := setup(l)
		return func() {
			mend()
			down()
		}
	}
}

// old puts a program before the real one that has another version to tell.
func old(program, flag, says string) func(l *lab) func() {
	return func(l *lab) func() {
		real, err := exec.LookPath(program)
		must(l.t, err)
		bin := l.path("old")
		must(l.t, os.MkdirAll(bin, 0o755))
		must(l.t, os.WriteFile(filepath.Join(bin, program), fmt.Appendf(nil, `#!/bin/sh
[ "$1" = %s ] && echo '%s' && exit
exec %s "$@"
`, flag, says, real), 0o755))
		l.env = append(l.env, "PATH="+bin+":"+os.Getenv("PATH"))
		return func() { must(l.t, os.RemoveAll(bin)) }
	}
}

// served is a lab whose view is served, and mend takes that down.
func served(l *lab) (mend func()) {
	l.ok("remoteMount", "serve")
	return func() { l.ok("down") }
}

// taken lets another program listen on the vault's port.
func taken(l *lab) func() {
	l.ok("remoteMount")
	s, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", l.port))
	must(l.t, err)
	return func() {
		s.Close()
		l.ok("down")
	}
}

// pretender is a server in the place of ours that lets everybody in, as another
// user of the machine may run one to get the session's password.
func pretender(l *lab) func() {
	mend := served(l)
	s, err := net.Listen("tcp", "127.0.0.1:0")
	must(l.t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			l.t.Error("the pretender got a password")
		}
		w.WriteHeader(http.StatusOK)
	})}
	go srv.Serve(s)
	// Ours keeps its port while it lives, so another port stands for it here.
	file := filepath.Join(l.runDir(), "webdav.json")
	b, err := os.ReadFile(file)
	must(l.t, err)
	var doc map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	must(l.t, d.Decode(&doc))
	doc["address"] = s.Addr().String()
	changed, err := json.Marshal(doc)
	must(l.t, err)
	must(l.t, os.WriteFile(file, changed, 0o600))
	return func() {
		_ = srv.Shutdown(context.Background())
		must(l.t, os.WriteFile(file, b, 0o600))
		mend()
	}
}

// mountpointIs makes the mountpoint, with something in the way.
func mountpointIs(way func(l *lab) func()) func(l *lab) func() {
	return func(l *lab) func() {
		mend := served(l)
		must(l.t, os.Mkdir(l.path("mnt"), 0o700))
		clear := way(l)
		return func() {
			clear()
			mend()
			must(l.t, os.RemoveAll(l.mnt))
			delete(l.own, "mnt")
		}
	}
}

// bare is the folder for a lab's cache or state, instead of its own.
func bare(variable string, make func(l *lab, dir string) func()) func(l *lab) func() {
	return func(l *lab) func() {
		dir := l.path("bare")
		must(l.t, os.Mkdir(dir, 0o755))
		l.env = append(l.env, variable+"="+dir)
		mend := make(l, dir)
		return func() {
			if mend != nil {
				mend()
			}
			must(l.t, os.RemoveAll(dir))
		}
	}
}

// fullDisk mounts a file system without any room on dir.
func fullDisk(l *lab, dir string) func() {
	must(l.t, syscall.Mount("fuseless-test", dir, "tmpfs", 0, "size=4k"))
	l.mounts = append(l.mounts, dir)
	must(l.t, os.WriteFile(filepath.Join(dir, "full"), make([]byte, 4096), 0o600))
	must(l.t, os.Chown(dir, int(l.as.Uid), int(l.as.Gid)))
	return func() { l.unmount(dir) }
}

// unmount takes a mount of the test down.
func (l *lab) unmount(dir string) {
	l.t.Helper()
	unmount(l.t, dir)
	l.mounts = slices.DeleteFunc(l.mounts, func(m string) bool { return m == dir })
}

// fullState is a state folder on a disk that got full since the last backup.
func fullState(l *lab) func() {
	dir := filepath.Join(l.home, ".local/state/fuseless")
	entries, err := os.ReadDir(dir)
	must(l.t, err)
	copied := filepath.Join(l.mem, "copied")
	must(l.t, os.CopyFS(copied, os.DirFS(dir)))
	must(l.t, syscall.Mount("fuseless-test", dir, "tmpfs", 0, "size=64k"))
	l.mounts = append(l.mounts, dir)
	must(l.t, os.CopyFS(dir, os.DirFS(copied)))
	must(l.t, os.RemoveAll(copied))
	must(l.t, filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		_ = os.Chmod(p, map[bool]os.FileMode{true: 0o700, false: 0o600}[e.IsDir()])
		return os.Chown(p, int(l.as.Uid), int(l.as.Gid))
	}))
	full, err := os.Create(filepath.Join(dir, entries[0].Name(), "full"))
	must(l.t, err)
	for err == nil {
		_, err = full.Write(make([]byte, 4096))
	}
	must(l.t, full.Close())
	there := filesBelow(dir)
	return func() {
		for _, p := range filesBelow(dir) {
			if !slices.Contains(there, p) {
				l.t.Error("left: ", p)
			}
		}
		l.unmount(dir)
	}
}

var hostFailures = []failure{
	{group: "Host", what: "the port is taken", on: near, args: []string{"serve"}, setup: taken,
		want: "cannot start the WebDAV server: fuseless-guest: webdav: listen tcp 127.0.0.1:PORT: bind: address already in use",
		hint: "another program has the port: choose another `port` in fuseless.yaml, or stop that program",
		code: proto.Serve},
	{group: "Host", what: "another user's server pretends to be ours", on: near, args: []string{"hostMount"}, setup: pretender,
		want: "the server on 127.0.0.1:PORT is not ours",
		hint: "another program, or another user's, holds the port; choose another one",
		code: proto.Serve},
	{group: "Host", what: "the mountpoint is not empty", on: near, args: []string{"hostMount"}, setup: mountpointIs(func(l *lab) func() {
		must(l.t, os.WriteFile(filepath.Join(l.mnt, "thesis"), []byte("the only copy"), 0o600))
		return func() { must(l.t, os.Remove(filepath.Join(l.mnt, "thesis"))) }
	}),
		want: "mountpoint MOUNTPOINT is not empty",
		hint: "a mount would hide what is in it; move it away, or set another mountpoint",
		code: proto.Mount},
	{group: "Host", what: "somebody else has mounted something there", on: near, args: []string{"hostMount"}, setup: mountpointIs(func(l *lab) func() {
		must(l.t, syscall.Mount("somebody's", l.mnt, "tmpfs", 0, "size=4k"))
		return func() { unmount(l.t, l.mnt) }
	}),
		want: "somebody's is already mounted on MOUNTPOINT",
		hint: "unmount it, or set another mountpoint",
		code: proto.Mount},
	{group: "Host", what: "somebody else's mount there is stale", on: near, args: []string{"hostMount"}, setup: mountpointIs(func(l *lab) func() {
		fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
		must(l.t, err)
		must(l.t, syscall.Mount("somebody's", l.mnt, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.Fd())))
		must(l.t, fuse.Close()) // as when its process is killed
		return func() { unmount(l.t, l.mnt) }
	}),
		want: "somebody's is already mounted on MOUNTPOINT",
		hint: "unmount it, or set another mountpoint",
		code: proto.Mount},
	{group: "Host", what: "gocryptfs is missing", on: near, args: []string{"backup"}, setup: hides("gocryptfs"),
		want: "gocryptfs is missing",
		hint: "sudo apt-get update && sudo apt-get install --no-install-recommends gocryptfs",
		code: proto.Prerequisite},
	{group: "Host", what: "rsync is missing", on: near, args: []string{"backup"}, setup: hides("rsync"),
		want: "rsync is missing",
		hint: "sudo apt-get update && sudo apt-get install --no-install-recommends rsync",
		code: proto.Prerequisite},
	{group: "Host", what: "ssh is missing", on: near, args: []string{"backup"}, setup: hides("ssh"),
		want: "ssh is missing",
		hint: "sudo apt-get update && sudo apt-get install --no-install-recommends openssh-client",
		code: proto.Prerequisite},
	{group: "Host", what: "sshfs is missing", on: near, args: []string{"remoteMount"}, setup: hides("sshfs"),
		want: "sshfs is missing",
		hint: "sudo apt-get update && sudo apt-get install --no-install-recommends sshfs",
		code: proto.Prerequisite},
	{group: "Host", what: "davfs2 is missing", on: near, args: []string{"hostMount"}, setup: whileServed(hides("mount.davfs")),
		want: "mount.davfs is not installed",
		hint: "install davfs2, or type: gio mount dav://fuseless@127.0.0.1:PORT/; its password is in RUNTIME/webdav.json, and the view stays served until `fuseless close`",
		code: proto.Prerequisite},
	{group: "Host", what: "gocryptfs is too old", on: near, args: []string{"backup"}, setup: old("gocryptfs", "-version", "gocryptfs 1.8.0; go-fuse 2.0.3"),
		want: "gocryptfs 1.8.0 is too old, 2.3 or later is needed",
		hint: "sudo apt-get update && sudo apt-get install --no-install-recommends gocryptfs",
		code: proto.Prerequisite},
	{group: "Host", what: "rsync is too old", on: near, args: []string{"backup"}, setup: old("rsync", "--version", "rsync  version 3.1.2  protocol version 31"),
		want: "rsync 3.1.2 is too old, 3.2.0 or later is needed",
		hint: "sudo apt-get update && sudo apt-get install --no-install-recommends rsync",
		code: proto.Prerequisite},
	{group: "Host", what: "ssh is too old", on: near, args: []string{"backup"}, setup: old("ssh", "-V", "OpenSSH_6.6.1p1"),
		want: "ssh 6.6.1p1 is too old, 7.6 or later is needed",
		hint: "sudo apt-get update && sudo apt-get install --no-install-recommends openssh-client",
		code: proto.Prerequisite},
	{group: "Host", what: "sshfs is too old", on: near, args: []string{"remoteMount"}, setup: old("sshfs", "-V", "SSHFS version 2.10"),
		want: "sshfs 2.10 is too old, 3.0 or later is needed",
		hint: "sudo apt-get update && sudo apt-get install --no-install-recommends sshfs",
		code: proto.Prerequisite},
	{group: "Host", what: "davfs2 is too old", on: near, args: []string{"hostMount"}, setup: whileServed(old("mount.davfs", "-V", "davfs2 1.5.4  <http://savannah.nongnu.org/projects/davfs2>")),
		want: "mount.davfs 1.5.4 is too old, 1.6.0 or later is needed",
		hint: "sudo apt-get update && sudo apt-get install --no-install-recommends davfs2",
		code: proto.Prerequisite},
	{group: "Host", what: "the cache folder may not be written", on: ordinary, args: []string{"backup"}, setup: bare("XDG_CACHE_HOME", func(*lab, string) func() { return nil }),
		want: "the cache folder may not be written: mkdir FOLDER/fuseless: permission denied",
		hint: "FOLDER must be yours; or set XDG_CACHE_HOME to a folder that is",
		code: proto.Config},
	{group: "Host", what: "the state folder may not be written", on: ordinary, args: []string{"backup"}, setup: bare("XDG_STATE_HOME", func(*lab, string) func() { return nil }),
		want: "cannot make the state folder: mkdir FOLDER/fuseless: permission denied",
		hint: "FOLDER/fuseless/photos-ID must be yours; or set XDG_STATE_HOME to a folder that is",
		code: proto.Config},
	{group: "Host", what: "the vault's state is another user's", on: ordinary, args: []string{"backup"}, setup: func(l *lab) func() {
		dirs, err := filepath.Glob(filepath.Join(l.home, ".local/state/fuseless/*"))
		must(l.t, err)
		must(l.t, os.Chown(dirs[0], 0, 0))
		return func() { must(l.t, os.Chown(dirs[0], int(l.as.Uid), int(l.as.Gid))) }
	},
		want: "cannot lock the vault photos: open STATE/fuseless/photos-ID/lock: permission denied",
		hint: "STATE/fuseless/photos-ID must be yours; or set XDG_STATE_HOME to a folder that is",
		code: proto.Config},
	{group: "Host", what: "the disk with the cache is full", on: ordinary, args: []string{"backup"}, setup: bare("XDG_CACHE_HOME", fullDisk),
		want: "cannot write to the cache folder: write FOLDER/fuseless/guest/ID/TEMPORARY: no space left on device",
		hint: "make room on the disk of FOLDER",
		code: proto.NoSpace},
	{group: "Host", what: "the disk with the state is full", on: ordinary, args: []string{"backup"}, setup: fullState, grows: true,
		want: "the backup is done, but its result could not be recorded: write STATE/fuseless/photos-ID/TEMPORARY: no space left on device",
		hint: "make room on the disk of STATE/fuseless/photos-ID",
		code: proto.NoSpace},
}
