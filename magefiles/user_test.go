//go:build linux

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
)

// users counts those that asUser made: labs may exist side by side.
var users atomic.Int32

// asUser lets the lab belong to an ordinary user, who is made for this test if
// root runs it: root can read everything.
func (l *lab) asUser() {
	t := l.t
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	for _, p := range []string{"useradd", "userdel"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(p, " is missing, and root can read everything")
		}
	}
	name := fmt.Sprintf("fuseless-test-%d-%d", os.Getpid(), users.Add(1))
	if out, err := exec.Command("useradd", "--system", "--no-create-home", "--home-dir", l.home, name).CombinedOutput(); err != nil {
		t.Skipf("useradd: %v: %s", err, out)
	}
	stop := l.stop
	l.stop = func() {
		stop()
		if out, err := exec.Command("userdel", name).CombinedOutput(); err != nil {
			t.Errorf("userdel: %v: %s", err, out)
		}
	}
	u, err := user.Lookup(name)
	must(t, err)
	uid, err := strconv.Atoi(u.Uid)
	must(t, err)
	gid, err := strconv.Atoi(u.Gid)
	must(t, err)
	l.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, dir := range []string{l.dir, l.mem} {
		must(t, filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(p, uid, gid)
		}))
	}
}
