// Package evicted finds files whose contents are not on this machine. iCloud
// Drive, with "Optimise Mac Storage", takes contents away and leaves name and
// size; other services by way of Apple's File Provider do the same. To read such
// a file downloads it, which a backup must not do for a whole disk unasked; and
// in the VM it cannot be read at all (EDEADLK, lima-vm/lima#4123).
package evicted

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/kballard/go-shellquote"
	ignore "github.com/sabhiram/go-gitignore"

	"fuseless/guest/proto"
	"fuseless/magefiles/screen"
)

// dataless is SF_DATALESS of macOS's sys/stat.h: a file, or a folder, whose
// contents come when they are read.
const dataless = 0x40000000

// maxExamples is how many paths are kept.
const maxExamples = 5

// Stat is what is asked about a file. It comes from lstat(2) alone, which
// downloads nothing.
type Stat struct {
	Flags uint32 // st_flags
	Size  int64  // bytes that the file has, or would have
}

// Lstat is how a file is asked. nil stands for System.
type Lstat func(path string) (Stat, error)

// Found is what Count found.
type Found struct {
	Files    int64    `json:"files"`              // without their contents
	Folders  int64    `json:"folders"`            // of which not even the names inside are here
	Bytes    int64    `json:"bytes"`              // that would be downloaded, as far as it is known
	Examples []string `json:"examples,omitempty"` // paths below the source, at most five
}

// Any says whether there is something.
func (f Found) Any() bool { return f.Files+f.Folders > 0 }

func (f Found) String() string {
	var parts []string
	if f.Files > 0 {
		parts = append(parts, plural(f.Files, "file", "files")+" with "+humanize.IBytes(uint64(f.Bytes)))
	}
	if f.Folders > 0 {
		parts = append(parts, plural(f.Folders, "whole folder", "whole folders"))
	}
	return strings.Join(parts, " and ")
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(n) + " " + many
}

// Count counts what is evicted below source. It opens no file, follows no
// symlink, and lists no folder that is evicted itself. What matches exclude,
// patterns on plaintext names as gocryptfs has them, is not looked at.
//
// What cannot be listed is passed over, for the backup meets it too. Its errors
// are ctx's, and a *proto.Error with code Source if the source itself cannot be
// looked at.
//
// Only macOS evicts files: elsewhere, unless lstat is given, it looks at
// nothing and finds nothing.
func Count(ctx context.Context, source string, exclude []string, lstat Lstat) (Found, error) {
	if lstat == nil {
		lstat = System
	}
	var f Found
	if lstat == nil {
		return f, nil
	}
	var excluded *ignore.GitIgnore
	if len(exclude) > 0 {
		excluded = ignore.CompileIgnoreLines(exclude...)
	}
	// The source may be a symlink, which WalkDir does not follow.
	root, err := filepath.EvalSymlinks(source)
	if err != nil {
		return f, proto.Errorf(proto.Source, "cannot read the source: %w", err)
	}
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, _ := filepath.Rel(root, p)
		switch {
		case err != nil && rel == ".":
			return proto.Errorf(proto.Source, "cannot read the source: %w", err)
		case err != nil:
			return nil
		case rel != "." && excluded != nil && excluded.MatchesPath(rel):
			return skip(d)
		case !d.IsDir() && !d.Type().IsRegular():
			return nil
		}
		st, err := lstat(p)
		if err != nil || st.Flags&dataless == 0 {
			return nil // one that is gone is not evicted
		}
		if len(f.Examples) < maxExamples {
			f.Examples = append(f.Examples, rel)
		}
		if d.IsDir() {
			f.Folders++
			return fs.SkipDir
		}
		f.Files++
		f.Bytes += st.Size
		return nil
	})
	return f, err
}

func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// Check refuses a backup of source that would meet evicted files: its error is
// a *proto.Error with code Source that names some of them. exclude is as for
// Count: what a backup leaves out does not keep it from running.
func Check(ctx context.Context, source string, exclude ...string) error {
	return check(ctx, source, exclude, nil)
}

func check(ctx context.Context, source string, exclude []string, lstat Lstat) error {
	f, err := Count(ctx, source, exclude, lstat)
	if err != nil || !f.Any() {
		return err
	}
	return f.Err(source)
}

// Err is f as the refusal of a backup of source; nil if there is nothing.
func (f Found) Err(source string) error {
	if !f.Any() {
		return nil
	}
	var names []string
	for _, e := range f.Examples {
		names = append(names, screen.Quote([]byte(e)))
	}
	text := strings.Join(names, ", ")
	if more := f.Files + f.Folders - int64(len(names)); more > 0 {
		text += fmt.Sprintf(", and %s more", humanize.Comma(more))
	}
	return proto.Errorf(proto.Source, "the contents of %s in %s are not on this Mac but in iCloud, or another cloud: %s", f, source, text).
		WithHint("%s", f.Mend(source))
}

// Mend is what to do about it.
func (f Found) Mend(source string) string {
	p := source
	if len(f.Examples) == 1 && screen.Quote([]byte(f.Examples[0])) == f.Examples[0] {
		p = filepath.Join(source, f.Examples[0])
	}
	return fmt.Sprintf("download them: `brctl download %s`, or Download Now in the Finder's context menu; or leave them out with `exclude`", shellquote.Join(p))
}
