//go:build linux

package ops

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

func (r *run) mountView(ctx context.Context, cipher string) error {
	if _, err := os.Stat(filepath.Join(cipher, gocryptfs.ConfigName)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return r.noVault()
		}
		return proto.Errorf(proto.Remote, "cannot read the vault at %s: %w", r.Destination.Label, err).
			WithHint("check that you may read the folder there, and run it again when the connection is back")
	}
	if r.Writable {
		if err := r.mayWrite(filepath.Join(cipher, gocryptfs.ConfigName)); err != nil {
			return err
		}
	}
	mp := r.viewPath()
	if err := os.Mkdir(mp, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	m, err := gocryptfs.Start(ctx, cipher, mp, r.Passphrase, gocryptfs.Options{Log: r.log("gocryptfs"), Writable: r.Writable})
	if err != nil {
		return err
	}
	// It has begun when it answers, whatever that is: a remote may refuse what others do not.
	_ = interruptible(ctx, func() error { _, err := os.Stat(mp); return err })
	if ctx.Err() != nil {
		m.Close(context.WithoutCancel(ctx))
		return ctx.Err()
	}
	r.setReadAhead(ctx, mp)
	return writeJSON(mp+".json", viewFile{identify(m.Pid()), r.Writable})
}

func (r *run) noVault() error {
	e := proto.Errorf(proto.Vault, "there is no vault at %s", r.Destination.Label)
	if r.Writable {
		return e.WithHint("check the destination, and whether its disk is mounted there; `fuseless init` makes a new vault, if there never was one")
	}
	return e.WithHint("check the destination; run `fuseless backup` if there was no backup yet")
}

// viewFile is what is kept of a mounted view.
type viewFile struct {
	identity
	Writable bool `json:"writable,omitempty"`
}

// viewWritable says whether the view was mounted to be written to.
func (r *run) viewWritable() bool {
	var view viewFile
	return readJSON(r.viewPath()+".json", &view) && view.Writable
}

// mayWrite refuses to write into the image of a source: the next backup would take
// what is written for deleted.
func (r *run) mayWrite(config string) error {
	b, err := os.ReadFile(config)
	if err != nil {
		return proto.Errorf(proto.Remote, "cannot read the vault's configuration at %s: %w", r.Destination.Label, err).
			WithHint("run it again when the connection is back")
	}
	parsed, err := gocryptfs.ParseConfig(b)
	switch {
	case err != nil:
		return err
	case parsed.Reverse():
		return proto.Errorf(proto.Vault, "the vault at %s is the backup of a folder: what is written into it, the next backup would delete", r.Destination.Label).
			WithHint("take `writable` out to read it, or give the files a vault of their own")
	}
	return nil
}
