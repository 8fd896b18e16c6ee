//go:build linux

package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/mounts"
	"fuseless/magefiles/compare"
	"fuseless/magefiles/nasty"
	"fuseless/magefiles/sampler"
)

// session is the secret of the running WebDAV server, as its guest keeps it.
type session struct{ Address, User, Password string }

func (l *lab) session() (s session) {
	l.t.Helper()
	file := filepath.Join(l.runDir(), "webdav.json")
	b, err := os.ReadFile(file)
	must(l.t, err)
	must(l.t, json.Unmarshal(b, &s))
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		l.t.Errorf("the session's file has the mode %v (%v)", fi.Mode(), err)
	}
	if len(s.Password) < 32 {
		l.t.Fatalf("no session secret in %s", b)
	}
	return s
}

// nothing fails if the last backup found anything to do.
func (l *lab) nothingSent() {
	l.t.Helper()
	if r := l.last(); r.Transferred != 0 || r.Deleted != 0 || r.Created != 0 || r.Literal != 0 || r.Held != 0 || r.Incomplete {
		l.t.Errorf("an unchanged source had something to send: %+v", r)
	}
}

// watch starts a sampler and proves that it sees a secret in the argv and in
// the environment of a process.
func watch(t *testing.T, secrets ...string) *sampler.Sampler {
	t.Helper()
	const planted = "planted-2c9e5b7d"
	all := [][]byte{[]byte(planted)}
	for _, s := range secrets {
		all = append(all, []byte(s))
	}
	s := sampler.Start(all...)
	for where, c := range map[string]*exec.Cmd{
		"cmdline": exec.Command("cat", "--", "-", planted), // it waits for the end of standard input
		"environ": {Path: "/bin/cat", Args: []string{"cat"}, Env: []string{"PLANTED=" + planted}},
	} {
		in, err := c.StdinPipe()
		must(t, err)
		c.Stdout, c.Stderr = io.Discard, io.Discard
		must(t, c.Start())
		must(t, s.WaitPass(t.Context()))
		in.Close()
		_ = c.Wait()
		seen := false
		for _, f := range s.Findings() {
			seen = seen || f.Secret == 0 && f.Where == where && f.PID == c.Process.Pid
		}
		if !seen {
			t.Fatalf("the sampler does not see a planted secret in %s", where)
		}
	}
	return s
}

// unseen ends a watch that is to have found nothing but what was planted.
func unseen(t *testing.T, s *sampler.Sampler) {
	t.Helper()
	for _, f := range s.Stop() {
		if f.Secret != 0 {
			t.Errorf("a secret was seen: %s", f)
		}
	}
	if s.Samples() < 10 {
		t.Errorf("only %d passes", s.Samples())
	}
}

// TestChain is the product's main job, from init to down, on a source with
// every nasty thing.
func TestChain(t *testing.T) {
	needsDavFS(t)
	l := newLab(t)
	testChain(l)
	c := l.server.Counters()
	if len(c.Refused) > 0 {
		t.Errorf("the remote was asked for %q", c.Refused)
	}
	if c.Connections == 0 {
		t.Error("the remote was not used")
	}
}

func testChain(l *lab) {
	t := l.t
	must(t, os.Remove(l.source))
	_, err := nasty.Make(l.source, nasty.Options{Bulk: 8 << 20, Special: true})
	must(t, err)
	passes := watch(t, passphrase)
	defer passes.Stop()

	l.ok("init")
	want := snapshot(t, l.source)
	l.ok("backup")
	if r := l.last(); r.Incomplete || r.Deleted != 0 || r.Created == 0 || r.Transferred == 0 || r.Bytes < 8<<20 {
		t.Errorf("the first backup: %+v", r)
	}
	// A second run is what the next night's is: nothing to do.
	l.ok("backup")
	l.nothingSent()

	l.ok("remoteMount", "serve", "hostMount")
	secret := l.session()
	// From here on it watches for both; two at once would take all of a small
	// machine.
	both := watch(t, passphrase, secret.Password)
	defer both.Stop()
	unseen(t, passes)
	before := l.status()
	l.ok("remoteMount", "serve", "hostMount")
	l.ok("open")
	if after := l.status(); mustJSON(t, without(before)) != mustJSON(t, without(after)) {
		t.Errorf("a second call changes what is up:\n%s\n%s", mustJSON(t, before), mustJSON(t, after))
	}
	if s := l.session(); s != secret {
		t.Error("a second call changes the session")
	}

	got, err := compare.WebDAV(t.Context(), "http://"+secret.Address+"/", secret.User, secret.Password)
	must(t, err)
	l.judge(want, got, "webdav", "sshfs")
	l.judge(want, snapshot(t, l.mnt), "davfs2", "sshfs")
	l.judge(want, l.restored(), "forward")
	l.checkStatus(secret)

	// Nothing on a disk holds a secret, and in memory only what must.
	secrets := []string{passphrase, secret.Password}
	for _, p := range holding(secrets, l.home, l.path("keys"), l.vault, l.trash) {
		t.Errorf("%s holds a secret", p)
	}
	if b, err := os.ReadFile(l.configFile()); err != nil || strings.Contains(string(b), passphrase) {
		t.Error("the configuration holds the passphrase ", err)
	}
	if p := holding([]string{passphrase}, filepath.Join(l.mem, "run")); len(p) > 0 {
		t.Errorf("the passphrase is in %v", p)
	}

	l.ok("close")
	l.ok("close")
	s := l.status()
	if s.Remote != nil || s.View != nil || s.Server != nil || s.HostMount != "" || s.Bridge != 0 {
		t.Errorf("after close: %s", mustJSON(t, s))
	}
	if left := lasting(l.left); len(left) > 0 {
		t.Errorf("close leaves %q", left)
	}
	l.ok("backup")
	l.nothingSent()
	l.ok("down")
	l.ok("down")
	same(t, "the source after all", want, snapshot(t, l.source))
	unseen(t, both)
	for _, p := range holding(secrets, l.home, l.vault, l.trash) {
		t.Errorf("afterwards %s holds a secret", p)
	}
}

// checkStatus checks what `status` and `status -json` say while all is up.
func (l *lab) checkStatus(secret session) {
	t := l.t
	t.Helper()
	s := l.status()
	switch {
	case s.Name != vaultName || s.Source != l.source || s.Mountpoint != l.mnt || s.Destination != l.alias+":backup/"+vaultName:
		t.Errorf("status: %s", mustJSON(t, s))
	case s.Remote == nil || !s.Remote.Alive || s.View == nil || !s.View.Alive || s.Server == nil || s.HostMount == "" || s.Bridge == 0:
		t.Errorf("status does not name what is up: %s", mustJSON(t, s))
	case s.Server.Address != fmt.Sprintf("127.0.0.1:%d", l.port) || s.Server.Address != secret.Address:
		t.Errorf("the server's address: %s", mustJSON(t, s))
	case s.LastBackup == nil || s.LastBackup.Code != 0 || s.AgeSeconds == nil || *s.AgeSeconds < 0 || *s.AgeSeconds > 600 || len(s.Strays) > 0 || s.Error != "":
		t.Errorf("status of the backup: %s", mustJSON(t, s))
	}
	for _, pid := range []int{s.Remote.Pid, s.View.Pid, s.Server.Pid, s.Bridge} {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
			t.Errorf("status names a process that is not there: %v", err)
		}
	}
	for _, p := range []string{s.Remote.Path, s.View.Path, s.Mountpoint} {
		if m, err := mounts.Find(p); err != nil || m == nil {
			t.Errorf("status names %s, which is not mounted (%v)", p, err)
		}
	}
	r := l.ok("status")
	for _, say := range []string{vaultName, l.source, s.View.Path, secret.Address, l.mnt, "ok"} {
		if !strings.Contains(r.stdout, say) {
			t.Errorf("status does not show %q:\n%s", say, r.stdout)
		}
	}
	for _, hide := range []string{secret.Password, passphrase} {
		if strings.Contains(r.stdout+r.stderr+mustJSON(t, s), hide) {
			t.Error("status shows a secret")
		}
	}
}

// without leaves out what may differ from one moment to the next.
func without(s any) any {
	b, _ := json.Marshal(s)
	m := map[string]any{}
	_ = json.Unmarshal(b, &m)
	delete(m, "ageSeconds")
	return m
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}
