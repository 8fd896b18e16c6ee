//go:build linux

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"fuseless/guest/proto"
)

// waiting starts a backup that waits for its passphrase, which comes from a
// FIFO; mend gives it.
func waiting(l *lab) (mend func()) {
	t := l.t
	must(t, os.Remove(l.passFile()))
	must(t, syscall.Mkfifo(l.passFile(), 0o600))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	first := l.command(ctx, "backup")
	var stderr bytes.Buffer
	first.Stderr = &stderr
	must(t, first.Start())
	pass, err := os.OpenFile(l.passFile(), os.O_WRONLY, 0) // returns when it asks
	must(t, err)
	return func() {
		defer cancel()
		_, err := pass.WriteString(passphrase + "\n")
		must(t, err)
		must(t, pass.Close())
		if code := exitCode(t, first.Wait()); code != proto.OK {
			t.Errorf("the first run: %d: %s", code, stderr.String())
		}
		must(t, os.Remove(l.passFile()))
		must(t, os.WriteFile(l.passFile(), []byte(passphrase+"\n"), 0o600))
	}
}

var twiceFailures = []failure{
	{group: "Two at once", what: "another backup of the vault runs", on: near, args: []string{"backup"}, setup: waiting,
		want: "another run works on the vault photos (pid PID, since TIME)",
		hint: "wait for it to end, or stop it",
		code: proto.Busy},
	{group: "Two at once", what: "`down` while a backup runs", on: near, args: []string{"down"}, setup: waiting,
		want: "another run works on the vault photos (pid PID, since TIME)",
		hint: "wait for it to end, or stop it",
		code: proto.Busy},
}

// TestTwoVaultsAtOnce: backups of two vaults run side by side.
func TestTwoVaultsAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.fill()
	second, secondPass := l.path("second"), filepath.Join(l.mem, "second")
	must(t, os.WriteFile(secondPass, []byte(passphrase+"\n"), 0o600))
	must(t, os.Mkdir(second, 0o700))
	must(t, os.WriteFile(filepath.Join(second, "letter"), []byte("dear reader"), 0o600))
	b, err := os.ReadFile(l.configFile())
	must(t, err)
	must(t, os.WriteFile(l.configFile(), fmt.Appendf(b, `  letters:
    source: %q
    destination: %s:backup/letters
    mountpoint: %q
    port: %d
    passphrase: {command: [cat, %q]}
`, second, l.alias, l.mnt+"2", freePort(t), secondPass), 0o600))
	l.ok("init")
	l.env = []string{"FUSELESS_VAULT=" + vaultName}
	goOn := waiting(l)
	// While the one waits for its passphrase, the other goes from one end to the
	// other.
	l.env = []string{"FUSELESS_VAULT=letters"}
	l.ok("backup")
	if _, err := os.Stat(filepath.Join(l.remote, "backup/letters/gocryptfs.conf")); err != nil {
		t.Error(err)
	}
	gone(t, l.vault)
	goOn()
	l.ok("restore", "-to="+l.path("restored"))
	l.judge(snapshot(t, second), snapshot(t, l.path("restored")), "forward")
	l.env = []string{"FUSELESS_VAULT=" + vaultName}
	l.sameAsSource()
	must(t, os.Remove(secondPass))
	l.env = nil
}
