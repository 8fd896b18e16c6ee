package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fuseless/guest/proto"
)

// library is the folder that is read. size is 1,000 as the results are
// published, and less in a test.
type library struct {
	dir  string
	size int
	film []byte // the large file
}

// The folders of a library, and its large file.
const (
	typedFolder   = "typed"   // size files with extensions
	untypedFolder = "untyped" // size files without
	fewFolder     = "few"     // in typed and untyped, a tenth as many
	nestedFolder  = "nested"  // nestedFolders folders, with half of size files in all
	smallFolder   = "small"   // size / 5 files of smallSize
	longFolder    = "long"    // longNames files
	filmName      = "film"

	nestedFolders = 20
	smallSize     = 4 << 10
	longNames     = 20
	longName      = 200 // bytes; encrypted more than a name may have, so gocryptfs keeps it in a file
	listedSize    = 64
)

func (l *library) few() int    { return max(l.size/10, 1) }
func (l *library) nested() int { return max(l.size/2/nestedFolders, 1) } // files of a folder
func (l *library) small() int  { return max(l.size/5, 1) }

// filmSize is 128 MiB at full size.
func (l *library) filmSize() int { return 128 << 20 / 1000 * l.size }

// make makes the files.
func (l *library) make(ctx context.Context) error {
	l.film = noise(0, l.filmSize())
	all := []files{
		{typedFolder, "IMG_%04d.jpg", l.size, listedSize}, {untypedFolder, "document %d", l.size, listedSize},
		{fewFolder + "/" + typedFolder, "IMG_%04d.jpg", l.few(), listedSize}, {fewFolder + "/" + untypedFolder, "document %d", l.few(), listedSize},
		{smallFolder, "note %03d.txt", l.small(), smallSize}, {longFolder, "%02d" + strings.Repeat("x", longName-2), longNames, listedSize},
	}
	for i := range nestedFolders {
		all = append(all, files{fmt.Sprintf("%s/folder %02d", nestedFolder, i), "file %d.txt", l.nested(), listedSize})
	}
	if err := l.fill(ctx, all); err != nil {
		return err
	}
	return l.write(filmName, l.film)
}

// files are files of a folder, whose names come from their numbers.
type files struct {
	folder, name string
	n, size      int
}

// fill makes files: the one with the number i, from 0, has the noise i+1.
func (l *library) fill(ctx context.Context, all []files) error {
	for _, f := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(l.dir, f.folder), 0o755); err != nil {
			return proto.Errorf(proto.NoSpace, "cannot make the files: %w", err)
		}
		for i := range f.n {
			if err := l.write(f.folder+"/"+fmt.Sprintf(f.name, i), noise(uint64(i)+1, f.size)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *library) write(name string, b []byte) error {
	p := filepath.Join(l.dir, name)
	err := os.WriteFile(p, b, 0o644)
	if err == nil {
		at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
		err = os.Chtimes(p, at, at)
	}
	if err != nil {
		return proto.Errorf(proto.NoSpace, "cannot make the files: %w", err)
	}
	return nil
}

// noise is n bytes that depend on seed alone.
func noise(seed uint64, n int) []byte {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}
