//go:build linux

package ops

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/rsync"
	"fuseless/guest/store"
)

// How far a proof looks for files: folders that are listed, folders from which
// something is tried, and files of each.
const (
	proofFolders = 256
	proofTries   = 4
	proofFiles   = 3
)

// Sizes of gocryptfs's format, in bytes (gocryptfs, docs/CRYPTOGRAPHY): the header
// of a file, a block of plaintext, and what encryption adds to it.
const (
	headerSize      = 18
	blockSize       = 4096
	blockOverhead   = 32
	xchachaOverhead = 40
)

// sample is a folder of the vault and some of its files.
type sample struct {
	dir   string
	files []string
}

// proven decrypts something of the vault with a configuration: the beginning of
// a file, which is authenticated, so that no other key could have made it. The
// folder's IV and the first block of the files are copied into memory and
// mounted there. proof says what was decrypted and is empty if nothing was;
// tried is the number of files that were asked.
func (k *keyWork) proven(ctx context.Context, conf []byte, pass proto.Secret) (proof string, tried int, err error) {
	c, err := gocryptfs.ParseConfig(conf)
	if err != nil {
		return "", 0, err
	}
	samples, err := k.samples(ctx)
	if err != nil {
		return "", 0, err
	}
	for _, s := range samples {
		read, err := k.decrypts(ctx, s, c, conf, pass)
		if err != nil {
			return "", 0, err
		}
		tried += len(s.files)
		if read > 0 {
			return fmt.Sprintf("%d of %d files that were tried could be decrypted", read, len(s.files)), tried, nil
		}
	}
	return "", tried, nil
}

// samples looks for folders with files that can prove something, the nearest
// first.
func (k *keyWork) samples(ctx context.Context) (found []sample, err error) {
	todo := []string{k.Destination.Path}
	for n := 0; len(todo) > 0 && n < proofFolders && len(found) < proofTries; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s := sample{dir: todo[0]}
		todo = todo[1:]
		entries, err := k.st.ReadDir(s.dir)
		if err != nil {
			if n == 0 {
				return nil, proto.Errorf(proto.Remote, "cannot list %s: %w", k.Destination.Label, err)
			}
			continue // a folder that may not be read; there are others
		}
		slices.SortFunc(entries, func(a, b os.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
		for _, e := range entries {
			switch {
			case gocryptfs.Virtual(e.Name()), e.Name() == rsync.PartialDir, strings.HasPrefix(e.Name(), ".fuseless-"):
			case e.IsDir():
				todo = append(todo, path.Join(s.dir, e.Name()))
			case e.Mode().IsRegular() && e.Size() > headerSize && len(s.files) < proofFiles:
				s.files = append(s.files, e.Name())
			}
		}
		if len(s.files) > 0 {
			found = append(found, s)
		}
	}
	return found, nil
}

// decrypts returns how many files of a sample could be read.
func (k *keyWork) decrypts(ctx context.Context, s sample, c *gocryptfs.Config, conf []byte, pass proto.Secret) (read int, err error) {
	// Two folders without any below them, which is what repair can remove.
	cipher, err := k.newRun()
	if err != nil {
		return 0, err
	}
	defer func() {
		if rerr := k.removeRun(context.WithoutCancel(ctx), cipher); err == nil {
			err = rerr
		}
	}()
	dir, err := k.newRun()
	if err != nil {
		return 0, err
	}
	defer func() {
		if rerr := k.removeRun(context.WithoutCancel(ctx), dir); err == nil {
			err = rerr
		}
	}()
	for _, f := range s.files {
		if err := k.fetchHead(s.dir, f, cipher, c); err != nil {
			return 0, err
		}
	}
	if iv, err := store.ReadHead(k.st, path.Join(s.dir, "gocryptfs.diriv"), 64); err == nil {
		if err := os.WriteFile(filepath.Join(cipher, "gocryptfs.diriv"), iv, 0o600); err != nil {
			return 0, err
		}
	}
	if err := os.WriteFile(filepath.Join(cipher, gocryptfs.ConfigName), conf, 0o600); err != nil {
		return 0, err
	}
	view := filepath.Join(dir, "view")
	if err := os.Mkdir(view, 0o700); err != nil {
		return 0, err
	}
	m, err := gocryptfs.Start(ctx, cipher, view, pass, gocryptfs.Options{Log: k.log("gocryptfs")})
	if err != nil {
		return 0, err
	}
	defer m.Close(context.WithoutCancel(ctx))
	entries, _ := os.ReadDir(view) // it hides what it cannot decrypt
	for _, e := range entries {
		f, err := os.Open(filepath.Join(view, e.Name()))
		if err != nil {
			continue
		}
		if n, _ := io.ReadFull(f, make([]byte, 1)); n == 1 {
			read++
		}
		f.Close()
	}
	return read, m.Check()
}

// fetchHead copies the header and the first block of a file. A block of zeros is
// left out: gocryptfs takes it for a hole, and it proves nothing.
func (k *keyWork) fetchHead(dir, name, to string, c *gocryptfs.Config) error {
	overhead := blockOverhead
	if slices.Contains(c.FeatureFlags, "XChaCha20Poly1305") {
		overhead = xchachaOverhead
	}
	b, err := store.ReadHead(k.st, path.Join(dir, name), headerSize+blockSize+overhead)
	if err != nil || len(b) <= headerSize || len(bytes.Trim(b[headerSize:], "\x00")) == 0 {
		return nil // not one that helps; others may
	}
	if strings.HasPrefix(name, "gocryptfs.longname.") {
		long, err := store.ReadHead(k.st, path.Join(dir, name+".name"), 4096)
		if err != nil {
			return nil
		}
		if err := os.WriteFile(filepath.Join(to, name+".name"), long, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(to, name), b, 0o600)
}
