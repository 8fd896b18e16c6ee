//go:build linux

package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fuseless/guest/proto"
	"fuseless/guest/rundir"
	"fuseless/magefiles/chain"
	"fuseless/magefiles/compare"
	"fuseless/magefiles/throwaway"
)

// passphrase is every lab's; long enough to be found nowhere by chance.
const passphrase = "a passphrase: 7f41c0c1 ünter"

// vaultName is the name of a lab's vault.
const vaultName = "photos"

// lab is a machine in a folder: home, source, remote, configuration.
type lab struct {
	t      *testing.T
	dir    string // everything on disk
	mem    string // everything on tmpfs: the passphrase, and the runtime folder
	home   string
	source string
	remote string // root of the remote, as the test sees it
	vault  string // the vault on the remote, as the test sees it
	trash  string
	mnt    string
	port   int

	server  *throwaway.Server // nil with a real sshd
	stop    func()            // ends the remote
	hidden  []int             // pids of the test's own processes that mention the lab
	ssh     string            // ssh_config
	alias   string
	exclude []string
	env     []string // added to every call
	mounts  []string // that the test itself made, and stop unmounts
	before  []string // what runs the task binary; nothing: it is run itself

	round int // how often signals_test.go changed the source

	as  *syscall.Credential // run as this user
	own map[string]bool     // what the test itself put into dir
}

// newLab makes a lab with the throwaway remote.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := emptyLab(t)
	s, err := throwaway.Start(context.Background(), l.remote, l.path("keys"))
	must(t, err)
	l.server, l.ssh, l.alias = s, s.SSHConfig, throwaway.Alias
	l.stop = func() { _ = s.Close() }
	l.configure()
	return l
}

// emptyLab makes a lab without a remote.
func emptyLab(t *testing.T) *lab {
	t.Helper()
	needs(t)
	// Short names: unix sockets live below mem, and sun_path holds 108 bytes.
	dir, err := os.MkdirTemp("", "fl-")
	must(t, err)
	mem, err := os.MkdirTemp("/dev/shm", "fl-")
	must(t, err)
	l := &lab{t: t, dir: dir, mem: mem, own: map[string]bool{}, stop: func() {}}
	l.home, l.source, l.remote, l.mnt = l.path("home"), l.path("source"), l.path("remote"), filepath.Join(dir, "mnt")
	l.vault = filepath.Join(l.remote, "backup", vaultName)
	l.trash = l.vault + ".trash"
	for _, d := range []string{l.home, l.source, l.remote, filepath.Join(mem, "run")} {
		must(t, os.Mkdir(d, 0o700))
	}
	must(t, os.WriteFile(l.passFile(), []byte(passphrase+"\n"), 0o600))
	l.port = freePort(t)
	t.Cleanup(l.close)
	return l
}

// path is a path in the lab that the test may make, and which may therefore be
// there at the end.
func (l *lab) path(name string) string {
	first, _, _ := strings.Cut(name, "/")
	l.own[first] = true
	return filepath.Join(l.dir, name)
}

func (l *lab) passFile() string   { return filepath.Join(l.mem, "pass") }
func (l *lab) configFile() string { return l.path("fuseless.yaml") }
func (l *lab) runDir() string {
	return filepath.Join(l.mem, "run", "fuseless", rundir.Instance(l.configFile()), vaultName)
}

// configure writes fuseless.yaml from the lab's fields.
func (l *lab) configure() { l.configureWith(fmt.Sprintf("    source: %q\n", l.source)) }

// configureWith is configure with another line for the source.
func (l *lab) configureWith(source string) {
	exclude, err := json.Marshal(append([]string{}, l.exclude...))
	must(l.t, err)
	must(l.t, os.WriteFile(l.configFile(), fmt.Appendf(nil, `ssh_config: %q
vaults:
  %s:
%s    destination: %s:backup/%s
    exclude: %s
    mountpoint: %q
    port: %d
    passphrase: {command: [cat, %q]}
    keep_deleted: 7
`, l.ssh, vaultName, source, l.alias, vaultName, exclude, l.mnt, l.port, l.passFile()), 0o600))
}

// status is the document of `status -json`.
func (l *lab) status() chain.VaultStatus {
	l.t.Helper()
	var doc chain.StatusDocument
	r := l.ok("status", "-json")
	if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil {
		l.t.Fatalf("status -json: %v: %s", err, r)
	}
	if doc.Schema != chain.StatusSchema || doc.Config != l.configFile() || len(doc.Vaults) != 1 {
		l.t.Fatalf("status -json: %s", r)
	}
	return doc.Vaults[0]
}

// last is the account of the last backup.
func (l *lab) last() proto.BackupResult {
	l.t.Helper()
	s := l.status()
	if s.LastBackup == nil || s.LastBackup.Result == nil {
		l.t.Fatalf("no account of a backup in %+v", s)
	}
	return *s.LastBackup.Result
}

// restored restores the vault into a new folder and returns its tree.
func (l *lab) restored() compare.Tree {
	l.t.Helper()
	to := l.path("restored")
	must(l.t, os.RemoveAll(to))
	l.ok("restore", "-to="+to)
	if _, err := os.Lstat(to + ".fuseless-restoring"); !errors.Is(err, os.ErrNotExist) {
		l.t.Error("restore leaves what it fetched: ", err)
	}
	return snapshot(l.t, to)
}

// sameAsSource restores and compares with the source.
func (l *lab) sameAsSource() {
	l.t.Helper()
	want := snapshot(l.t, l.source)
	l.judge(want, l.restored(), "forward")
}

// judge compares by the tables of permitted losses.
func (l *lab) judge(want, got compare.Tree, tables ...string) {
	l.t.Helper()
	losses, err := compare.LoadLosses(tables...)
	must(l.t, err)
	if v := losses.For(want).Judge(compare.Compare(want, got)); !v.OK() {
		l.t.Errorf("by the tables %v:\n%s", tables, v)
	}
}

func snapshot(t *testing.T, dir string) compare.Tree {
	t.Helper()
	tree, err := compare.Local(context.Background(), dir)
	must(t, err)
	return tree
}

// same fails if two trees differ in anything at all.
func same(t *testing.T, what string, want, got compare.Tree) {
	t.Helper()
	for i, d := range compare.Compare(want, got) {
		if i == 20 {
			t.Error("and more")
			break
		}
		t.Errorf("%s: %s", what, d)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	for {
		// Below what the kernel gives to outgoing connections (ip_local_port_range): one of another
		// test could have it while the server of this one is not up.
		port := 20_000 + rand.IntN(12_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		must(t, err)
		must(t, l.Close())
		return port
	}
}
