//go:build linux

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// change is what a person changes in the course of time.
func (r *run) change() []part {
	return []part{
		{"a vault that was made with guest: local", r.madeLocally},
		{"the same vault with guest: lima: nothing is sent", func(ctx context.Context) error { return r.sameVault(ctx, "lima") }},
		{"and with guest: local again: nothing is sent", func(ctx context.Context) error { return r.sameVault(ctx, "local") }},
	}
}

// renewal is the rest of it: what changes is ours.
func (r *run) renewal() []part {
	return []part{
		{"another guest binary: no restart, new version", r.newBinary},
		{"another template: one restart", r.newTemplate},
		{"up again: nothing to do", func(ctx context.Context) error { return r.up(ctx, "vm: nothing to do") }},
	}
}

// in are the variables for the second vault with a guest.
func in(guest string) []string {
	return []string{"FUSELESS_VAULT=" + secondVault, "FUSELESS_GUEST=" + guest}
}

func (r *run) madeLocally(ctx context.Context) error {
	for _, target := range []string{"init", "backup"} {
		if _, err := r.with(ctx, in("local"), target); err != nil {
			return err
		}
	}
	b, err := r.lastBackup(ctx, secondVault)
	if err == nil && b.Literal == 0 {
		err = different("the first backup sends nothing: %+v", b)
	}
	return err
}

// sameVault is a backup with the other guest.
func (r *run) sameVault(ctx context.Context, guest string) error {
	if _, err := r.with(ctx, in(guest), "backup"); err != nil {
		return err
	}
	b, err := r.lastBackup(ctx, secondVault)
	if err != nil {
		return err
	}
	r.fact("the switched vault with guest: %s: %d new, %d files compared, %d of the user's, %d bytes of data sent", guest, b.Created, b.Transferred, b.UserFiles, b.Literal)
	if b.Literal != 0 || b.Created != 0 || b.Deleted != 0 {
		return different("the switched vault has something to send: %+v", b)
	}
	return nil
}

// bootAndBinary is what tells one boot of the guest from another, and its binary.
func (r *run) bootAndBinary(ctx context.Context) (boot, binary string, err error) {
	out, err := r.shell(ctx, "cat /proc/sys/kernel/random/boot_id; fuseless-guest version")
	if err != nil {
		return "", "", err
	}
	boot, binary, ok := strings.Cut(strings.TrimSpace(out), "\n")
	if !ok {
		err = different("the guest says %q", out)
	}
	return boot, binary, err
}

// newBinary installs another fuseless, as a person does.
func (r *run) newBinary(ctx context.Context) error {
	boot, binary, err := r.bootAndBinary(ctx)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(r.next)
	if err != nil {
		return err
	}
	tmp := r.bin + ".new"
	if err := os.WriteFile(tmp, data, 0o755); err != nil {
		return err
	}
	if err := os.Rename(tmp, r.bin); err != nil {
		return err
	}
	if err := r.user.own(filepath.Dir(r.bin)); err != nil {
		return err
	}
	if err := r.up(ctx, "vm: nothing to do", "guest: installed"); err != nil {
		return err
	}
	boot2, binary2, err := r.bootAndBinary(ctx)
	if err != nil {
		return err
	}
	r.fact("before: %s; after: %s", binary, binary2)
	switch {
	case boot2 != boot:
		return different("the guest was booted again for another binary")
	case binary2 == binary || !strings.Contains(binary2, nextVersion):
		return different("the guest still runs %q", binary2)
	}
	return r.up(ctx, "vm: nothing to do")
}

func (r *run) newTemplate(ctx context.Context) error {
	boot, binary, err := r.bootAndBinary(ctx)
	if err != nil {
		return err
	}
	if err := r.configure(1152); err != nil {
		return err
	}
	if err := r.up(ctx, "vm: restarted"); err != nil {
		return err
	}
	boot2, binary2, err := r.bootAndBinary(ctx)
	if err != nil {
		return err
	}
	if boot2 == boot || binary2 != binary {
		return different("after the restart the guest has the boot %s (before %s) and %s (before %s)", boot2, boot, binary2, binary)
	}
	out, err := r.shell(ctx, "awk '/MemTotal/ { print int($2/1024) }' /proc/meminfo")
	if err != nil {
		return err
	}
	r.say("the guest has %s MiB of memory", strings.TrimSpace(out))
	return nil
}
