//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/chain"
)

// patience is how long one call may take: a first boot without KVM.
const patience = 40 * time.Minute

// result is what a call of the user's printed, and how it ended.
type result struct {
	argv           string
	stdout, stderr string
	code           proto.Code // exit status
	took           time.Duration
}

// call runs argv as the user, without a terminal. The error is only for what
// could not be run, or did not end in time.
func (r *run) call(ctx context.Context, env []string, stdin io.Reader, argv ...string) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	begin := time.Now()
	err := proc.Run(ctx, proc.Cmd{
		Argv: r.user.argv(env, argv...), Dir: r.user.home,
		Stdin: stdin, Stdout: &stdout, Stderr: io.MultiWriter(&stderr, os.Stderr),
	})
	res := result{argv: strings.Join(argv, " "), stdout: stdout.String(), stderr: stderr.String(), took: time.Since(begin)}
	var x *proc.ExitError
	if errors.As(err, &x) && x.Code >= 0 {
		res.code, err = proto.Code(x.Code), nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", res.argv, err)
	}
	return res, err
}

// fuseless is a call that must succeed; it returns what it printed.
func (r *run) fuseless(ctx context.Context, args ...string) (string, error) {
	return r.with(ctx, nil, args...)
}

// aboutVM are the targets that are not about one vault: with one chosen, `down`
// leaves the VM running.
var aboutVM = []string{"render", "up", "down", "destroy"}

// with is fuseless with variables in the environment.
func (r *run) with(ctx context.Context, env []string, args ...string) (string, error) {
	if !slices.Contains(aboutVM, args[0]) {
		env = append([]string{"FUSELESS_VAULT=" + mainVault}, env...)
	}
	res, err := r.call(ctx, env, nil, append([]string{r.bin}, args...)...)
	if err == nil {
		err = res.failure()
	}
	for line := range strings.Lines(res.stdout) {
		if !slices.Contains(args, "-json") && args[0] != "render" {
			fmt.Fprintf(r.out, "    %s\n", strings.TrimRight(line, "\n"))
		}
	}
	return res.stdout, err
}

// failure is the error of a call that ended with a code, with its last words.
func (res result) failure() error {
	if res.code == proto.OK {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(res.stderr), "\n")
	return proto.Errorf(res.code, "`%s` ended with %d (%s): %s", res.argv, int(res.code), res.code, strings.Join(lines[max(0, len(lines)-15):], "\n  "))
}

// shell runs a script in the guest, as `echo SCRIPT | fuseless shell` does, and
// returns its output. The script must succeed.
func (r *run) shell(ctx context.Context, script string) (string, error) {
	res, err := r.call(ctx, nil, strings.NewReader(script), r.bin, "shell")
	if err == nil {
		err = res.failure()
	}
	return res.stdout, err
}

// status is the vault's part of `status -json`.
func (r *run) status(ctx context.Context, vault string) (chain.VaultStatus, error) {
	out, err := r.with(ctx, []string{"FUSELESS_VAULT=" + vault}, "status", "-json")
	if err != nil {
		return chain.VaultStatus{}, err
	}
	var doc chain.StatusDocument
	if err := json.Unmarshal([]byte(out), &doc); err != nil || len(doc.Vaults) != 1 {
		return chain.VaultStatus{}, different("status -json is not one vault's: %v: %s", err, out)
	}
	return doc.Vaults[0], nil
}

// lastBackup is the account of the vault's last backup.
func (r *run) lastBackup(ctx context.Context, vault string) (proto.BackupResult, error) {
	s, err := r.status(ctx, vault)
	if err != nil {
		return proto.BackupResult{}, err
	}
	if s.LastBackup == nil || s.LastBackup.Result == nil {
		return proto.BackupResult{}, different("status knows of no backup of %s", vault)
	}
	return *s.LastBackup.Result, nil
}

// different is an error for what is not as it should be.
func different(format string, args ...any) error {
	return proto.Errorf(proto.Different, format, args...)
}
