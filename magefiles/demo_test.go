//go:build linux

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The installed program needs no Go: its PATH has only the system's programs.
const systemPath = "/usr/sbin:/usr/bin:/sbin:/bin"

// runDemo runs `fuseless demo` with an empty HOME.
func runDemo(t *testing.T, home string, as *syscall.Credential) {
	t.Helper()
	c := exec.Command(fuseless, "demo")
	c.Dir = home
	c.Env = []string{"HOME=" + home, "PATH=" + systemPath}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: as}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	for _, table := range []string{"webdav+sshfs", "davfs2+sshfs", "forward"} {
		if !strings.Contains(string(out), fmt.Sprintf("compared by the table %q: as it went in", table)) {
			t.Errorf("no comparison by the table %s:\n%s", table, out)
		}
	}
	// What may stay is the guest program, unpacked.
	for _, p := range filesBelow(home) {
		if fi, err := os.Lstat(p); err != nil || fi.IsDir() {
			continue
		}
		if !strings.HasPrefix(p, filepath.Join(home, ".cache", "fuseless", "guest")) {
			t.Errorf("left behind: %s", p)
		}
	}
	if pids := processes(home); len(pids) > 0 {
		t.Errorf("processes left behind: %v", pids)
	}
}

func TestDemoWithoutGo(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("davfs2 needs root; TestDemoAsUser is for the others, but root makes its user")
	}
	needs(t, "mount.davfs")
	runDemo(t, t.TempDir(), nil)
}

// An ordinary user needs sudo, and only for davfs2.
func TestDemoAsUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a user with sudo")
	}
	needs(t, "mount.davfs", "sudo", "useradd")
	name := fmt.Sprintf("fuseless-demo-%d", os.Getpid())
	home, err := os.MkdirTemp("", "fd-")
	must(t, err)
	must(t, os.Chmod(home, 0o755))
	t.Cleanup(func() { os.RemoveAll(home) })
	if out, err := exec.Command("useradd", "--system", "--no-create-home", "--home-dir", home, name).CombinedOutput(); err != nil {
		t.Skipf("useradd: %v: %s", err, out)
	}
	sudoers := filepath.Join("/etc/sudoers.d", name)
	t.Cleanup(func() {
		_ = os.Remove(sudoers)
		if out, err := exec.Command("userdel", name).CombinedOutput(); err != nil {
			t.Errorf("userdel: %v: %s", err, out)
		}
	})
	must(t, os.WriteFile(sudoers, []byte(name+" ALL=(ALL) NOPASSWD:ALL\n"), 0o440))
	u, err := user.Lookup(name)
	must(t, err)
	uid, err := strconv.Atoi(u.Uid)
	must(t, err)
	gid, err := strconv.Atoi(u.Gid)
	must(t, err)
	must(t, os.Chown(home, uid, gid))
	runDemo(t, home, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)})
}
