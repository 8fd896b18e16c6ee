package chain

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestMoveAsOrdinaryUser runs the tests of moving as somebody whom permissions
// bind: limactl refuses root, so no restore by a VM is root's.
func TestMoveAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it needs root to become an ordinary user; the other tests ran as one")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "fl-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const nobody = 65534
	test, tmp := filepath.Join(dir, "chain.test"), filepath.Join(dir, "tmp")
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(test, self, 0o755), os.Mkdir(tmp, 0o700), os.Chown(tmp, nobody, nobody)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), test, "-test.run=^TestMove(To|Overwrites|Goes|Through)", "-test.v")
	cmd.Dir, cmd.Env = tmp, []string{"HOME=" + tmp, "TMPDIR=" + tmp, "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
	}
}
