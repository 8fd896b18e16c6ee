//go:build linux

package ops

import (
	"context"
	"os"
	"path"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// maxNamed is how many damaged entries are named; beyond that they are counted.
const maxNamed = 1000

// verify is one run of a verification.
type verify struct {
	*run
	started time.Time
	dir     string // folder of this run
	config  string // file with the vault's configuration, which may be a copy
	image   *gocryptfs.Mount
	names   *gocryptfs.Names // of the image

	mu     sync.Mutex // guards what follows
	result proto.VerifyResult
	named  map[string]bool
	diff   differences
}

func (r *run) verify(ctx context.Context) (err error) {
	v := &verify{run: r, started: time.Now(), named: map[string]bool{}}
	v.diff.init()
	if r.Source != "" {
		if err := r.checkSource(); err != nil {
			return err
		}
	}
	if err := r.repair(ctx); err != nil {
		return err
	}
	if v.dir, err = r.newRun(); err != nil {
		return err
	}
	defer func() {
		v.closeImage(ctx)
		if rerr := r.removeRun(context.WithoutCancel(ctx), v.dir); err == nil {
			err = rerr
		}
	}()
	if err := v.begin(ctx); err != nil {
		return err
	}
	if v.image != nil {
		if err := v.step(ctx, proto.StepCompare, func() error { return v.compare(ctx) }); err != nil {
			return err
		}
	}
	if v.Verify.Data || v.image == nil {
		if err := v.view(ctx); err != nil {
			return err
		}
	}
	v.result.Duration = time.Since(v.started)
	v.event(proto.Event{Kind: proto.KindResult, Verify: &v.result})
	return v.verdict()
}

// verdict is how the run ends.
func (v *verify) verdict() error {
	switch n := v.result.Damaged; {
	case n > 0 && v.image != nil:
		return proto.Errorf(proto.Different, "the vault %s is damaged or differs from the source: %s", v.Vault, count(n, "entry", "entries")).
			WithHint("they are named above. `fuseless backup -checksum` sends what differs again from the source; what it replaces goes to the trash")
	case n > 0:
		return proto.Errorf(proto.Different, "the vault %s is damaged: %s", v.Vault, count(n, "entry", "entries")).
			WithHint("they are named above; a restore brings back the others. If the source is still somewhere, add it to the configuration and run `fuseless backup -checksum`")
	case v.result.Unchecked > 0:
		return proto.Errorf(proto.Incomplete, "the verification of %s is incomplete: %s could not be checked; no damage was found in the others",
			v.Vault, count(v.result.Unchecked, "entry", "entries")).
			WithHint("see the warnings above; mend what keeps them from being read, and run it again")
	}
	return nil
}

// begin looks at the destination and mounts the image, if there is a source.
func (v *verify) begin(ctx context.Context) error {
	var look *proto.Look
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return v.step(gctx, proto.StepConnect, func() error {
			st, err := store.Open(gctx, v.Destination)
			if err != nil {
				return err
			}
			defer st.Close()
			look, err = peek(st, v.Destination)
			return err
		})
	})
	var wrong error // the passphrase, for the source: the vault may know more about it
	if v.Source != "" {
		g.Go(func() error {
			err := v.step(gctx, proto.StepReverse, func() (err error) {
				if v.image, err = v.run.image(gctx, v.dir, "image"); err == nil {
					v.names, err = gocryptfs.OpenNames(gctx, v.image.Socket)
				}
				return err
			})
			if proto.CodeOf(err) == proto.Passphrase {
				wrong, err = err, nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if wrong != nil {
		if v.opens(ctx, look.Config) {
			return v.changedElsewhere()
		}
		return wrong
	}
	if !look.Exists {
		return proto.Errorf(proto.Vault, "there is no vault at %s", v.Destination.Label).
			WithHint("is its disk mounted? check the destination; run `fuseless backup` if there was no backup yet")
	}
	return v.checkConfig(ctx, look)
}

func (v *verify) closeImage(ctx context.Context) {
	if v.names != nil {
		_ = v.names.Close()
	}
	if v.image != nil {
		if _, err := v.image.Close(context.WithoutCancel(ctx)); err != nil {
			v.warn(err.Error())
		}
	}
}

// damage names an entry, once.
func (v *verify) damage(plain, what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report(plain, what)
}

// report is damage for who holds v.mu.
func (v *verify) report(plain, what string) {
	if v.named[plain] {
		return
	}
	v.result.Damaged++
	if len(v.named) >= maxNamed {
		return
	}
	v.named[plain] = true
	v.event(proto.Event{Kind: proto.KindDamage, Damage: &proto.Damage{Path: []byte(plain), What: what}})
}

// unchecked tells of an entry that could not be read, which is no proof of
// damage.
func (v *verify) unchecked(what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.result.Unchecked++; v.result.Unchecked <= maxNamed {
		v.warn("not checked: " + what)
	}
}

// since says whether a file of the source was changed, made or moved after the
// last backup began. Only ctime tells: anyone may set the other times. Where
// the source is seen by sshfs it is the time of modification, as sftp has no
// other.
func (v *verify) since(fi os.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	changed := time.Unix(st.Ctim.Unix())
	if !changed.Before(v.started) {
		return true
	}
	since := v.Verify.Since
	if v.wholeSeconds() {
		since = since.Truncate(time.Second)
	}
	return !since.IsZero() && !changed.Before(since)
}

// plain is the plaintext of an encrypted path, as far as it can be had: the
// last part of a name that does not decrypt stays as it is.
func (v *verify) plain(enc string) (plain string, ok bool) {
	if p, ok := v.names.Decrypt(enc); ok {
		return p, true
	}
	dir := path.Dir(enc)
	if dir == "." {
		return enc, false
	}
	p, _ := v.plain(dir)
	return p + "/" + path.Base(enc), false
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(n, 10) + " " + many
}
