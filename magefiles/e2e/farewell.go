//go:build linux

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// farewell takes everything down, and looks at what is left.
func (r *run) farewell() []part {
	return []part{
		{"down: the VM is stopped", r.down},
		{"no secret on the disk of the VM, nor in its files", r.searchSecrets},
		{"destroy", r.destroy},
		{"nothing is left", r.nothingLeft},
	}
}

// planted is how the secret is called that must be found.
const planted = "the planted secret"

// down plants a secret, and stops the VM under a mounted view: that is what
// `down` is for.
func (r *run) down(ctx context.Context) error {
	secret := make([]byte, 16)
	rand.Read(secret)
	r.secrets[planted] = []byte(hex.EncodeToString(secret))
	_, err := r.shell(ctx, fmt.Sprintf("echo %s | sudo tee /root/planted >/dev/null; sudo sync", r.secrets[planted]))
	if err != nil {
		return err
	}
	if err := r.open(ctx); err != nil {
		return err
	}
	if _, err := r.fuseless(ctx, "down"); err != nil {
		return err
	}
	return r.allDown()
}

// searchSecrets looks through all that the VM leaves on the host's disk.
func (r *run) searchSecrets(ctx context.Context) error {
	raw := filepath.Join(r.dir, "disk.raw")
	defer os.Remove(raw)
	// With its backing file, as the guest sees it.
	if err := proc.Run(ctx, proc.Cmd{Argv: []string{"qemu-img", "convert", "-O", "raw", r.instance("diffdisk"), raw}}); err != nil {
		return err
	}
	files := []string{raw, filepath.Join(r.home(".fuseless-lima", "fuseless"), "basedisk")}
	for _, p := range below(r.home(".fuseless-lima")) {
		if fi, err := os.Lstat(p); err == nil && fi.Mode().IsRegular() && !slices.Contains(files, p) {
			files = append(files, p)
		}
	}
	for _, must := range []string{"lima.yaml", "cidata.iso", "ha.stderr.log", "diffdisk"} {
		if !slices.Contains(files, r.instance(must)) {
			return different("there is no %s to look into, only %q", must, files)
		}
	}
	var size int64
	found := false
	for _, file := range files {
		hits, err := search(file, r.secrets)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(hits)) {
			if name != planted {
				return different("%s is in %s, at byte %d", name, file, hits[name])
			}
			found = found || file == raw
			r.fact("%s is found in %s, at byte %d", name, filepath.Base(file), hits[name])
		}
		if fi, err := os.Stat(file); err == nil {
			size += fi.Size()
		}
	}
	if !found {
		return different("%s is not found: the search is worth nothing", planted)
	}
	var kinds []string
	for _, name := range slices.Sorted(maps.Keys(r.secrets)) {
		kind, _, _ := strings.Cut(name, ", ")
		if name != planted && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	r.fact("not found in %d files, %d MiB: %d secrets: %s", len(files), size>>20, len(r.secrets)-1, strings.Join(kinds, ", "))
	return nil
}

// destroy needs consent, and then removes the VM; the vault stays.
func (r *run) destroy(ctx context.Context) error {
	res, err := r.call(ctx, nil, nil, r.bin, "destroy")
	if err == nil && res.code != proto.Terminal {
		err = different("`destroy` without a terminal ends with %d, not with %d: %s", int(res.code), int(proto.Terminal), res.stderr)
	}
	if err != nil {
		return err
	}
	if _, err := r.fuseless(ctx, "destroy", "-yes"); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(r.dir, "remote", "backup", mainVault, "gocryptfs.conf")); err != nil {
		return different("the vault is gone: %v", err)
	}
	return nil
}

func (r *run) nothingLeft(context.Context) error {
	if left := r.left(); len(left) > 0 {
		return different("left behind:\n  %s", strings.Join(left, "\n  "))
	}
	return nil
}
