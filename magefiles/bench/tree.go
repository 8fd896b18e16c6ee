package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"fuseless/guest/proto"
)

// The sizes of a tree's files are log-normal, as those of people's files are:
// half of them are smaller than medianSize bytes, and a few make up most of the
// bytes. With these numbers 5,000 files have 494 MiB, the largest 24 MB.
const (
	medianSize = 14255
	sigma      = 2.0
)

// treeFolder is how many files a folder of a tree has, and how many folders the
// one above.
const treeFolder = 20

// tree is a folder of files with noise, which no tool can compress or
// deduplicate. The same number of files gives the same bytes, names and times.
type tree struct {
	dir   string
	ranks []int // by file: its place among all, by size
}

func newTree(dir string, files int) tree {
	return tree{dir, rand.New(rand.NewPCG(1, 2)).Perm(files)}
}

// make makes the files.
func (t tree) make(ctx context.Context) error {
	for i := range t.ranks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(t.path(i)), 0o755); err != nil {
			return proto.Errorf(proto.NoSpace, "cannot make the files: %w", err)
		}
		if err := t.write(i, 0); err != nil {
			return err
		}
	}
	return t.date()
}

// date gives the folders a time, as the files have one. With that of their making, one that is copied within
// the same second would keep its own: rsync compares seconds.
func (t tree) date() error {
	at := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)
	err := filepath.WalkDir(t.dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.Chtimes(p, at, at)
		}
		return err
	})
	if err != nil {
		return proto.Errorf(proto.NoSpace, "cannot make the files: %w", err)
	}
	return nil
}

func (t tree) path(i int) string {
	return filepath.Join(t.dir, fmt.Sprintf("%02d", i/treeFolder/treeFolder), fmt.Sprintf("%02d", i/treeFolder%treeFolder), fmt.Sprintf("file %02d.bin", i%treeFolder))
}

// size is that of the file i: a quantile of the distribution, so that few files
// are spread as many are.
func (t tree) size(i int) int64 {
	p := (float64(t.ranks[i]) + 0.5) / float64(len(t.ranks))
	return int64(medianSize * math.Exp(sigma*math.Sqrt2*math.Erfinv(2*p-1)))
}

// bytes is the size of the files together.
func (t tree) bytes(files []int) (n int64) {
	for _, i := range files {
		n += t.size(i)
	}
	return n
}

// all are all files.
func (t tree) all() []int { return t.ranks }

// write writes the file i; another generation has another content and time.
func (t tree) write(i, generation int) error {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(i))
	binary.LittleEndian.PutUint64(seed[8:], uint64(generation))
	b := make([]byte, t.size(i))
	_, _ = rand.NewChaCha8(seed).Read(b)
	err := os.WriteFile(t.path(i), b, 0o644)
	if err == nil {
		at := time.Date(2024, 1, 1, 0, i, 0, 0, time.UTC).AddDate(generation, 0, 0)
		err = os.Chtimes(t.path(i), at, at)
	}
	if err != nil {
		return proto.Errorf(proto.NoSpace, "cannot make the files: %w", err)
	}
	return nil
}

// changed are the files that change rewrites: one of each hundred by size, one
// at least.
func (t tree) changed() (files []int) {
	for i, rank := range t.ranks {
		if rank%100 == min(50, len(t.ranks)/2) {
			files = append(files, i)
		}
	}
	return files
}

// change gives 1 % of the files another content, of the same size.
func (t tree) change() error {
	for _, i := range t.changed() {
		if err := t.write(i, 1); err != nil {
			return err
		}
	}
	return nil
}
