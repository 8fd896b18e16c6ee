package doctor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adrg/xdg"

	"fuseless/guest/proto"
)

func program(t *testing.T, file, output string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, fmt.Appendf(nil, "#!/bin/sh\necho '%s'\n", output), 0o755))
}

func TestFindLimactl(t *testing.T) {
	dir := t.TempDir()
	program(t, dir+"/old/bin/limactl", "limactl version 1.0.7")
	program(t, dir+"/new/bin/limactl", "limactl version 2.0.3")
	for _, c := range []struct {
		prefix, version string
		state           toolState
		ok              bool
	}{{"old", "1.0.7", installed, false}, {"new", "2.0.3", installed, true}, {"none", "", nowhere, false}} {
		tool, state, err := findLimactl(t.Context(), filepath.Join(dir, c.prefix))
		if tool.Version != c.version || state != c.state || (err == nil) != c.ok {
			t.Errorf("%s: %+v %v %v", c.prefix, tool, state, err)
		}
	}
	if _, err := os.Stat("/usr/local/bin/limactl"); err == nil {
		t.Skip("this machine has a limactl")
	}
	t.Setenv("PATH", "/usr/bin:/bin")
	cache := xdg.CacheHome
	xdg.CacheHome = dir
	t.Cleanup(func() { xdg.CacheHome = cache })
	if _, state, err := findLimactl(t.Context(), ""); err != nil || state != buildable { // the test runs in a checkout
		t.Errorf("%v %v", state, err)
	}
	program(t, dir+"/fuseless/lima/lima-1.2.2-00000000/bin/limactl", "limactl version 1.2.2")
	if tool, state, err := findLimactl(t.Context(), ""); err != nil || state != built || tool.Version != "1.2.2" {
		t.Errorf("%+v %v %v", tool, state, err)
	}
	t.Chdir(dir)
	must(t, os.RemoveAll(dir+"/fuseless"))
	if _, state, err := findLimactl(t.Context(), ""); proto.CodeOf(err) != proto.Prerequisite || state != nowhere {
		t.Errorf("%v %v", state, err)
	}
}

func TestQEMUVersion(t *testing.T) {
	dir := t.TempDir()
	for _, arch := range []string{"x86_64", "aarch64"} {
		program(t, dir+"/qemu-system-"+arch, "QEMU emulator version 10.0.3 (Debian 1:10.0.3+ds-1)")
	}
	t.Setenv("PATH", dir+":/bin")
	if v := qemuVersion(t.Context()); v != "10.0.3" {
		t.Errorf("%q", v)
	}
}

func TestTryPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	if err := tryPort(port); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("error %v", err)
	}
	l.Close()
	if err := tryPort(port); err != nil {
		t.Error(err)
	}
	if err := tryPort(port); err != nil { // it kept nothing
		t.Error(err)
	}
}
