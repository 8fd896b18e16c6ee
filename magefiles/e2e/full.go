//go:build linux

package e2e

import (
	"bytes"
	"context"
	"os"
	"strings"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// guestFaults are what can be wrong in the guest, or with the passphrase, when
// a target begins. Each is mended afterwards, and the target succeeds.
func (r *run) guestFaults() []part {
	return []part{
		{"the guest's disk is full: backup", func(ctx context.Context) error {
			return r.fault(ctx, fault{
				what: "disk full in the guest", done: "no room on its disk, for a vault that is new there; backup",
				make: fillDisk, mend: "sudo rm -f /fill.*", args: []string{"backup"},
				code: proto.NoSpace, says: "cannot make the state folder: mkdir ", hint: "make room on the disk of ",
			})
		}},
		{"the guest's memory file system is full: remoteMount", func(ctx context.Context) error {
			return r.fault(ctx, fault{
				what: "disk full in the guest", done: "no room on the tmpfs of the runtime folder; remoteMount",
				make: fillMemory, mend: "rm -f /run/user/$(id -u)/fill /dev/shm/fill", args: []string{"remoteMount"}, undo: []string{"remoteUnmount"},
				code: proto.NoSpace, says: "cannot write to the runtime folder: ", hint: "make room on the file system of ",
			})
		}},
		{"a wrong passphrase", r.wrongPassphrase},
		{"a passphrase that was changed meanwhile", r.changedPassphrase},
	}
}

// fillDisk leaves no byte of the guest's disk to an ordinary user, and takes the
// vault's state folder away.
const fillDisk = `
rm -rf ~/.local/state/fuseless/` + secondVault + `-*
n=0
while room=$(df --output=avail -B1 / | tail -n 1) && [ "$room" -gt 0 ] && [ $n -lt 40 ]; do
	n=$((n + 1))
	sudo fallocate -l "$room" /fill.$n 2>/dev/null </dev/null || sudo fallocate -l "$((room / 2 + 1))" /fill.$n </dev/null || break
done
touch ~/fill.none; ! mkdir ~/fill.dir 2>/dev/null || { rmdir ~/fill.dir; echo "there is still room"; }
rm -f ~/fill.none
`

const fillMemory = `
cd /run/user/$(id -u) && [ -d fuseless ] || cd /dev/shm
dd if=/dev/zero of=fill bs=64k 2>/dev/null
! echo x 2>/dev/null >fill.more || echo "there is still room"
rm -f fill.more
`

// fault is something that is wrong in the guest.
type fault struct {
	what, done string
	make, mend string // scripts for the guest; make prints nothing if it worked
	args, undo []string
	code       proto.Code
	says, hint string
}

func (r *run) fault(ctx context.Context, f fault) error {
	before, err := r.remains(ctx)
	if err != nil {
		return err
	}
	if out, err := r.shell(ctx, f.make+"\nexit 0"); err != nil || out != "" {
		_, merr := r.shell(ctx, f.mend)
		return different("the fault could not be made: %v: %s (%v)", err, out, merr)
	}
	res, err := r.timely(ctx, patience, f.code, in("lima"), f.args...)
	if err == nil {
		err = res.mentions(f.says, f.hint)
	}
	if _, merr := r.shell(ctx, f.mend); err == nil {
		err = merr
	}
	if err == nil {
		err = r.nothingMore(ctx, before, settleTime)
	}
	if err != nil {
		return err
	}
	for _, args := range [][]string{f.args, f.undo} {
		if len(args) == 0 {
			continue
		}
		if _, err := r.with(ctx, in("lima"), args...); err != nil {
			return err
		}
	}
	r.met(f.what, f.done, res.code, res.took, "%s; nothing is left; with room again it succeeds", said(res))
	return nil
}

// mentions says whether all the words are in what the call said.
func (res result) mentions(words ...string) error {
	for _, w := range words {
		if !strings.Contains(res.stderr, w) {
			return different("`%s` does not say %q, but %s", res.argv, w, res.stderr)
		}
	}
	return nil
}

func (r *run) wrongPassphrase(ctx context.Context) error {
	right, err := os.ReadFile(r.passFile())
	if err != nil {
		return err
	}
	wrong := bytes.ToUpper(right)
	r.secrets["a wrong passphrase"] = bytes.TrimSpace(wrong)
	if err := os.WriteFile(r.passFile(), wrong, 0o600); err != nil {
		return err
	}
	res, err := r.refused(ctx, "cannot mount the encrypted image of the source: the passphrase is wrong", "if it was changed, use the new one")
	if werr := os.WriteFile(r.passFile(), right, 0o600); err == nil {
		err = werr
	}
	if err != nil {
		return err
	}
	r.met("wrong passphrase", "the passphrase command prints another one; backup", res.code, res.took, "%s; nothing is left", said(res))
	return nil
}

// refused is a backup of the small vault that must end with the code for a
// passphrase, and leave nothing.
func (r *run) refused(ctx context.Context, says ...string) (result, error) {
	before, err := r.remains(ctx)
	if err != nil {
		return result{}, err
	}
	res, err := r.timely(ctx, patience, proto.Passphrase, in("lima"), "backup")
	if err == nil {
		err = res.mentions(says...)
	}
	if err == nil {
		err = r.nothingMore(ctx, before, settleTime)
	}
	return res, err
}

// changedPassphrase changes it on the source, with stock gocryptfs.
func (r *run) changedPassphrase(ctx context.Context) error {
	key := r.home(smallSource, gocryptfs.ReverseConfigName)
	before, err := os.ReadFile(key)
	if err != nil {
		return err
	}
	pass, err := os.ReadFile(r.passFile())
	if err != nil {
		return err
	}
	next := bytes.ToUpper(bytes.TrimSpace(pass))
	stdin := append(append(bytes.Clone(pass), next...), '\n')
	res, err := r.call(ctx, nil, bytes.NewReader(stdin), "gocryptfs", "-q", "-reverse", "-passwd", "--", r.home(smallSource))
	if err == nil {
		err = res.failure()
	}
	if err != nil {
		return err
	}
	res, err = r.refused(ctx, "cannot unlock the configuration in the source: the passphrase is wrong there, but opens the vault", "run `fuseless passwd`")
	werr := r.user.do(func() error {
		if err := os.Remove(key); err != nil {
			return err
		}
		return os.WriteFile(key, before, 0o400)
	})
	if err != nil {
		return err
	}
	if werr != nil {
		return werr
	}
	begin := time.Now()
	if _, err := r.with(ctx, in("lima"), "backup"); err != nil {
		return err
	}
	r.say("with the old configuration it succeeds, after %.1f s", time.Since(begin).Seconds())
	r.met("passphrase changed meanwhile", "`gocryptfs -passwd` on the source; backup with the old one", res.code, res.took,
		"%s; nothing is left; with the old configuration it succeeds", said(res))
	return nil
}
