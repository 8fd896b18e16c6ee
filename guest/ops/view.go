//go:build linux

package ops

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

func (r *run) mountView(ctx context.Context, cipher string) error {
	config, err := readConfig(ctx, filepath.Join(cipher, gocryptfs.ConfigName))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrNotExist):
		return r.noVault()
	case err != nil:
		return proto.Errorf(proto.Remote, "cannot read the vault at %s: %w", r.Destination.Label, err).
			WithHint("check that you may read the folder there, and run it again when the connection is back")
	case r.Writable:
		if err := r.mayWrite(config); err != nil {
			return err
		}
	}
	mp := r.viewPath()
	if err := os.Mkdir(mp, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	key := r.keepNameKey(ctx, config)
	defer key.close()
	m, err := gocryptfs.Start(ctx, cipher, mp, r.Passphrase, gocryptfs.Options{Log: r.log("gocryptfs"), Writable: r.Writable, Keep: key.file})
	if err != nil {
		return err
	}
	// It has begun when it answers, whatever that is: a remote may refuse what others do not.
	// A name is asked for, which gocryptfs cannot answer without the root's directory IV: it has
	// that for the next minute, and over the link it would cost who comes first three round trips.
	_ = interruptible(ctx, func() error { _, err := os.Lstat(filepath.Join(mp, ".fuseless")); return err })
	there := key.wait()
	if ctx.Err() != nil {
		m.Close(context.WithoutCancel(ctx))
		return ctx.Err()
	}
	r.setReadAhead(ctx, mp)
	view := viewFile{identity: identify(m.Pid()), Writable: r.Writable}
	if there {
		view.NameKey = m.KeptFD
	}
	return writeJSON(mp+".json", view)
}

// readConfig reads the configuration of a vault. The remote may show anything under that name.
func readConfig(ctx context.Context, path string) ([]byte, error) {
	const most = 1 << 20 // bytes; gocryptfs writes some hundred
	config := make(chan []byte, 1)
	err := interruptible(ctx, func() error {
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
			return cmp.Or(err, errors.New(gocryptfs.ConfigName+" is no file"))
		}
		b, err := io.ReadAll(io.LimitReader(f, most))
		config <- b
		return err
	})
	if err != nil {
		return nil, err
	}
	return <-config, nil
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
	NameKey  int  `json:"name_key,omitempty"` // gocryptfs's descriptor of it; 0: there is none
}

// viewWritable says whether the view was mounted to be written to.
func (r *run) viewWritable() bool {
	var view viewFile
	return readJSON(r.viewPath()+".json", &view) && view.Writable
}

// mayWrite refuses to write into the image of a source: the next backup would take
// what is written for deleted.
func (r *run) mayWrite(config []byte) error {
	parsed, err := gocryptfs.ParseConfig(config)
	switch {
	case err != nil:
		return err
	case parsed.Reverse():
		return proto.Errorf(proto.Vault, "the vault at %s is the backup of a folder: what is written into it, the next backup would delete", r.Destination.Label).
			WithHint("take `writable` out to read it, or give the files a vault of their own")
	}
	return nil
}
