package webdav

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// forms is an FS in which a name that does not exist, byte for byte, stands for
// the one that differs from it by the Unicode normal form of its elements
// (NFC, NFD; UAX 15): macOS asks in NFD for what a listing gave in NFC, and a
// person types in NFC what a Mac has stored in NFD. What exists as it is asked
// for always wins, so that of two that differ only so each is reached.
//
// A name that exists costs nothing more, nor does one of ASCII alone.
type forms struct{ FS }

// namesMax is the longest name, in bytes, that is looked for in other forms:
// PATH_MAX, which no client's mount passes. It bounds the work for one request.
const namesMax = 4096

// elementsMax bounds the looks for one name: each element may cost three round trips.
const elementsMax = 64

// stored is the name by which the file system has name, and what it is there.
// The error is fs.ErrNotExist if it has name in no form; name then is returned.
func (f forms) stored(ctx context.Context, name string) (string, fs.FileInfo, error) {
	fi, err := f.FS.Stat(ctx, name)
	if !errors.Is(err, fs.ErrNotExist) || !hasForms(name) {
		return name, fi, err
	}
	if ctx.Err() != nil { // who asked is gone
		return name, nil, ctx.Err()
	}
	folder, in, ferr := f.stored(ctx, path.Dir(name))
	switch {
	case errors.Is(ferr, fs.ErrNotExist):
		return name, nil, err
	case ferr != nil:
		return name, nil, ferr
	case !in.IsDir():
		return name, nil, err
	}
	base := path.Base(name)
	tried := []string{name}
	for _, b := range []string{base, norm.NFC.String(base), norm.NFD.String(base)} {
		n := path.Join(folder, b)
		if slices.Contains(tried, n) {
			continue
		}
		tried = append(tried, n)
		if fi, ferr = f.FS.Stat(ctx, n); !errors.Is(ferr, fs.ErrNotExist) {
			return n, fi, ferr
		}
	}
	return name, nil, err
}

// place is the name under which something new or changed belongs that a client
// calls name: that of what is there in whatever form, so that no twin of it
// comes into being, else name in the folder as it is stored.
func (f forms) place(ctx context.Context, name string) (string, error) {
	if !hasForms(name) {
		return name, nil
	}
	stored, _, err := f.stored(ctx, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return stored, err
	}
	folder, _, err := f.stored(ctx, path.Dir(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return name, nil // the method finds out
	case err != nil:
		return name, err
	}
	return path.Join(folder, path.Base(name)), nil
}

func (f forms) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	_, fi, err := f.stored(ctx, name)
	return fi, err
}

func (f forms) ReadDir(ctx context.Context, name string) ([]fs.FileInfo, error) {
	infos, err := f.FS.ReadDir(ctx, name)
	if n, ok := f.other(ctx, name, err); ok {
		return f.FS.ReadDir(ctx, n)
	}
	return infos, err
}

func (f forms) Open(ctx context.Context, name string) (File, error) {
	file, err := f.FS.Open(ctx, name)
	if n, ok := f.other(ctx, name, err); ok {
		return f.FS.Open(ctx, n)
	}
	return file, err
}

// other is the name to try after err, if there is one.
func (f forms) other(ctx context.Context, name string, err error) (string, bool) {
	if !errors.Is(err, fs.ErrNotExist) || !hasForms(name) {
		return "", false
	}
	n, _, err := f.stored(ctx, name)
	return n, err == nil && n != name
}

// hasForms reports whether name may have another normal form: ASCII has none.
func hasForms(name string) bool {
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return len(name) <= namesMax && strings.Count(name, "/") < elementsMax
		}
	}
	return false
}
