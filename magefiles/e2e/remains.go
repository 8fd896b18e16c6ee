//go:build linux

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// inGuest lists what could remain of a run in the guest: mounts, processes, and
// files where runs keep theirs.
const inGuest = `
awk '/ - fuse/ {print "mount " $5}' /proc/self/mountinfo
for p in /proc/[0-9]*; do
	read -r c 2>/dev/null <$p/comm || continue
	case $c in fuseless-guest|gocryptfs|sshfs|rsync|dial) echo "process $(tr '\0' ' ' <$p/cmdline 2>/dev/null)" ;; esac
done
find /run/user/$(id -u)/fuseless /dev/shm /tmp -user $(id -u) 2>/dev/null
exit 0
`

// remains are the processes and files of runs, here and in the guest, with how
// often each is there.
func (r *run) remains(ctx context.Context) (map[string]int, error) {
	all := map[string]int{}
	res, err := r.call(ctx, nil, strings.NewReader(inGuest), "ssh", "-F", r.instance("ssh.config"), "lima-fuseless", "sh")
	if err == nil {
		err = res.failure()
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(res.stdout) {
		all["in the guest: "+strings.TrimSpace(line)]++
	}
	for _, pid := range r.user.processes() {
		all["process "+commandLine(pid)]++
	}
	for _, m := range mountsBelow(r.user.home) {
		all["mount "+m]++
	}
	if r.user.made {
		// Not below what is somebody else's: there may be mounts that hang.
		for _, dir := range r.user.owns(sharedFolders, entries) {
			for _, p := range append(below(dir), dir) {
				all[p]++
			}
		}
	}
	return all, nil
}

// settleTime is how long what a run has ended, and waited for, may still be seen.
const settleTime = 3 * time.Second

// nothingMore waits until nothing is there that was not before, but for what
// mayStay names. A run that was killed cannot wait for what cleans up after it;
// all others have.
func (r *run) nothingMore(ctx context.Context, before map[string]int, limit time.Duration, mayStay ...string) error {
	deadline := time.Now().Add(limit)
	for {
		now, err := r.remains(ctx)
		if err != nil {
			return err
		}
		maps.DeleteFunc(now, func(what string, n int) bool {
			return n <= before[what] || slices.ContainsFunc(mayStay, func(s string) bool { return strings.Contains(what, s) })
		})
		if len(now) == 0 {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return different("left behind:\n  %s", strings.Join(slices.Sorted(maps.Keys(now)), "\n  "))
		}
		time.Sleep(200 * time.Millisecond) // there is no event for the end of what is not ours
	}
}

// vaultIsSource opens the vault where it lies, with gocryptfs alone, and compares
// it with the source.
func (r *run) vaultIsSource(ctx context.Context, vault, source string) (err error) {
	view, err := os.MkdirTemp(r.dir, "view-")
	if err != nil {
		return err
	}
	defer os.Remove(view)
	pass, err := os.ReadFile(r.passFile())
	if err != nil {
		return err
	}
	m, err := gocryptfs.Start(ctx, filepath.Join(r.dir, "remote", "backup", vault), view,
		proto.Secret(strings.TrimSpace(string(pass))), gocryptfs.Options{Log: filepath.Join(r.dir, "gocryptfs.log")})
	if err != nil {
		return err
	}
	defer func() {
		if _, cerr := m.Close(context.WithoutCancel(ctx)); err == nil {
			err = cerr
		}
	}()
	out, err := proc.Output(ctx, proc.Cmd{Argv: []string{"diff", "-r", "--no-dereference", "-x", gocryptfs.ReverseConfigName, "--", r.home(source), view}})
	if err != nil {
		return different("the vault %s is not what its source is: %v: %s", vault, err, out)
	}
	return nil
}

// said is a short form of what a call said, for the list.
func said(res result) string { return fmt.Sprintf("%q", res.lastLine()) }
