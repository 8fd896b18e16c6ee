//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"fuseless/magefiles/compare"
	"fuseless/templates"
)

// inspection looks at what the running VM must not do.
func (r *run) inspection() []part {
	return []part{
		{"on the host only the vaults' ports listen", r.onlyVaultPorts},
		{"the guest cannot write to the source", r.sourceReadOnly},
		{"no key, no agent and no known_hosts in the guest", r.noKeys},
		{"the guest's kernel reads far ahead in both mounts", r.readAhead},
		{"logs", r.logs},
		{"status costs at most three times `ssh true`", r.statusTime},
	}
}

// sourceReadOnly tries to write, also with the guest's own protection taken
// away: then it is the host that refuses.
func (r *run) sourceReadOnly(ctx context.Context) error {
	const name = "written-by-the-guest"
	point := templates.MountPoint(r.home(mainSource))
	out, err := r.shell(ctx, fmt.Sprintf(`
cd / && ls -d %[1]s/bulk.bin || exit 1
try() { if "$@" </dev/null; then echo "DONE: $*"; fi; }
try touch %[1]s/%[2]s
try sudo touch %[1]s/%[2]s
try rm -f %[1]s/bulk.bin
sudo mount -i -o remount,rw %[1]s </dev/null && echo remounted
try touch %[1]s/%[2]s
try truncate -s 1 %[1]s/bulk.bin
sudo mount -i -o remount,ro %[1]s </dev/null
exit 0
`, point, name))
	if err != nil {
		return err
	}
	if !strings.Contains(out, "remounted") {
		return different("the guest's own mount could not be made writable, so the host's refusal was not tried: %s", out)
	}
	if strings.Contains(out, "DONE") {
		return different("the guest could change the source: %s", out)
	}
	if _, err := os.Lstat(r.home(mainSource, name)); !errors.Is(err, fs.ErrNotExist) {
		return different("the guest made a file in the source: %v", err)
	}
	now, err := compare.Local(ctx, r.home(mainSource))
	if err != nil {
		return err
	}
	if d := compare.Compare(r.source, now); len(d) > 0 {
		return different("the source is not what it was: %s, and %d more", d[0], len(d)-1)
	}
	return nil
}

func (r *run) noKeys(ctx context.Context) error {
	out, err := r.shell(ctx, `
[ -z "$SSH_AUTH_SOCK" ] || echo "an agent: SSH_AUTH_SOCK=$SSH_AUTH_SOCK"
sudo find / -xdev \( -name known_hosts -o -name known_hosts.old -o -name 'id_*' \) -path '*/.ssh/*' </dev/null 2>/dev/null
sudo find /home /root /tmp /var/tmp -xdev -type s </dev/null 2>/dev/null
sudo find /run /tmp -name 'agent.*' </dev/null 2>/dev/null
sudo grep -rlI -e 'PRIVATE KEY-----' /home /root /tmp /run/user /dev/shm /etc --exclude='ssh_host_*_key' </dev/null 2>/dev/null
tail -n +2 /proc/swaps
exit 0
`)
	if err != nil {
		return err
	}
	if out != "" {
		return different("in the guest there is: %s", out)
	}
	return nil
}

// readAhead says whether the guest was allowed to let its kernel read far ahead in
// the mounts of the remote and of the view, which are there (sysfs-class-bdi).
func (r *run) readAhead(ctx context.Context) error {
	out, err := r.shell(ctx, `
awk '$5 ~ "/fuseless/.*/(remote|view)$" { print $3 }' /proc/self/mountinfo |
while read -r device; do cat "/sys/class/bdi/$device/read_ahead_kb"; done
`)
	if err == nil && out != "4096\n4096\n" {
		err = different("in the mounts of the remote and of the view the guest's kernel reads so many KiB ahead: %q", out)
	}
	return err
}

func (r *run) logs(ctx context.Context) error {
	res, err := r.call(ctx, nil, nil, r.bin, "logs")
	if err == nil {
		err = res.failure()
	}
	if err != nil {
		return err
	}
	r.say("%d lines", strings.Count(res.stdout, "\n"))
	for _, want := range []string{"ha.stderr.log", "fuseless: the guest is ready"} {
		if !strings.Contains(res.stdout, want) {
			return different("the logs have no %q", want)
		}
	}
	return nil
}

// statusTime compares with what nobody can be faster than: a command in the
// guest, by Lima's own configuration.
func (r *run) statusTime(ctx context.Context) error {
	const rounds = 5
	var status, ssh []time.Duration
	for range rounds {
		for _, c := range []struct {
			took *[]time.Duration
			argv []string
		}{
			{&ssh, []string{"ssh", "-F", r.instance("ssh.config"), "lima-fuseless", "true"}},
			{&status, []string{r.bin, "status", "-json"}},
		} {
			res, err := r.call(ctx, []string{"FUSELESS_VAULT=" + mainVault}, nil, c.argv...)
			if err == nil {
				err = res.failure()
			}
			if err != nil {
				return err
			}
			*c.took = append(*c.took, res.took)
		}
	}
	slices.Sort(status)
	slices.Sort(ssh)
	s, c := status[rounds/2].Seconds(), ssh[rounds/2].Seconds()
	r.fact("status -json takes %.2f s, ssh -F … true %.2f s (medians of %d): %.1f times", s, c, rounds, s/c)
	if s > 3*c {
		return different("status -json takes %.1f times as long as ssh -F … true, more than 3", s/c)
	}
	return nil
}
