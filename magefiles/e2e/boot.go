//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"fuseless/guest/proto"
	"fuseless/magefiles/guestbin"
)

// boot is the way to a running guest.
func (r *run) boot() []part {
	return []part{
		{"render; limactl validate", r.render},
		{"up: created, and cloud-init installs everything", func(ctx context.Context) error { return r.up(ctx, "vm: created") }},
		{"up again: nothing to do", func(ctx context.Context) error { return r.up(ctx, "vm: nothing to do") }},
		{"what is in the guest", r.guestVersions},
	}
}

// render checks the description with the very limactl that gets it.
func (r *run) render(ctx context.Context) error {
	yaml, err := r.fuseless(ctx, "render")
	if err != nil {
		return err
	}
	r.say("%d bytes", len(yaml))
	if err := r.validate(ctx, []byte(yaml)); err != nil {
		return err
	}
	// And what other configurations give: those of the golden files.
	src, err := guestbin.Source()
	if err != nil {
		return err
	}
	goldens, err := filepath.Glob(filepath.Join(src, "testdata", "lima", "*.yaml"))
	if err != nil || len(goldens) < 5 {
		return different("there are %d golden descriptions in testdata/lima (%v)", len(goldens), err)
	}
	for _, g := range goldens {
		yaml, err := os.ReadFile(g)
		if err != nil {
			return err
		}
		if err := r.validate(ctx, yaml); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(g), err)
		}
		r.fact("limactl validate: ok: %s", filepath.Base(g))
	}
	return nil
}

func (r *run) validate(ctx context.Context, yaml []byte) error {
	file := filepath.Join(r.mem, "lima.yaml")
	defer os.Remove(file)
	if err := os.WriteFile(file, yaml, 0o644); err != nil {
		return err
	}
	home := filepath.Join(r.mem, "lima")
	defer os.RemoveAll(home)
	res, err := r.call(ctx, []string{"LIMA_HOME=" + home}, nil, r.tool.Path, "--tty=false", "validate", file)
	if err != nil {
		return err
	}
	if strings.Contains(res.stderr, "Non-strict") {
		return different("limactl does not know all keys: %s", res.stderr)
	}
	return res.failure()
}

// up must say exactly the lines want.
func (r *run) up(ctx context.Context, want ...string) error {
	out, err := r.fuseless(ctx, "up")
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(out); got != strings.Join(want, "\n") {
		return different("`fuseless up` says %q, not %q", got, strings.Join(want, "\n"))
	}
	return nil
}

// aptLine is what apt says about what it got and installed.
var aptLine = regexp.MustCompile(`^(Get:|Fetched |Setting up |fuseless: )`)

func (r *run) guestVersions(ctx context.Context) error {
	out, err := r.shell(ctx, "sudo cat /var/log/cloud-init-output.log")
	if err != nil {
		return err
	}
	installed := false
	r.fact("the apt lines of the guest's cloud-init log:")
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); aptLine.MatchString(line) {
			r.fact("  %s", line)
			installed = installed || strings.HasPrefix(line, "Setting up gocryptfs ")
		}
	}
	if !installed {
		return different("cloud-init did not install gocryptfs:\n%s", out)
	}
	for _, command := range []string{"gocryptfs -version", "sshfs -V", "fuseless-guest version", "uname -a"} {
		out, err := r.shell(ctx, command+" 2>&1")
		if err != nil {
			return err
		}
		r.fact("%s: %s", command, strings.Join(strings.Split(strings.TrimSpace(out), "\n"), "; "))
	}
	// The exit status is the command's own.
	res, err := r.call(ctx, nil, strings.NewReader("exit 7"), r.bin, "shell")
	if err == nil && res.code != proto.Code(7) {
		err = different("`exit 7` in the guest ends the shell with %d", int(res.code))
	}
	return err
}
