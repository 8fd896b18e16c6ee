package webdav

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	dav "golang.org/x/net/webdav"
)

// operation travels in the context of a request that x/net carries out: what
// the adapter must know of the request, and what came of it.
type operation struct {
	method   string
	expect   int64  // bytes that an upload must have, -1 if unknown
	keep     string // a file that a rename will replace, so that it is not removed first
	replaced bool   // an upload took the place of a file
	err      error  // of the file system, in the place of which x/net has another status
}

type operationKey struct{}

func operationOf(ctx context.Context) *operation {
	op, _ := ctx.Value(operationKey{}).(*operation)
	if op == nil {
		op = &operation{expect: -1}
	}
	return op
}

// adapter is an FS and a WriteFS as x/net's FileSystem. Opening for reading
// opens nothing before the first Read.
type adapter struct {
	fs FS
	w  WriteFS
}

// name is the FS name for one of x/net's.
func (a *adapter) name(urlPath string) string {
	name, err := nameOf(urlPath)
	if err != nil {
		return "\x00" // refused by every FS
	}
	return name
}

// note keeps the first error that x/net would give the wrong status for.
func note(ctx context.Context, err error) error {
	if op := operationOf(ctx); err != nil && op.err == nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
		op.err = err
	}
	return plain(err)
}

// plain is err so that os.IsNotExist and os.IsExist, which x/net uses and
// which do not unwrap, know it.
func plain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fs.ErrNotExist
	case errors.Is(err, fs.ErrExist):
		return fs.ErrExist
	}
	return err
}

func (a *adapter) Stat(ctx context.Context, p string) (os.FileInfo, error) {
	fi, err := a.fs.Stat(ctx, a.name(p))
	if err != nil {
		return nil, note(ctx, err)
	}
	return davInfo{fi}, nil
}

func (a *adapter) Mkdir(ctx context.Context, p string, _ os.FileMode) error {
	return note(ctx, a.w.Mkdir(ctx, a.name(p)))
}

func (a *adapter) RemoveAll(ctx context.Context, p string) error {
	name := a.name(p)
	if op := operationOf(ctx); op.keep == name {
		return nil
	}
	return note(ctx, a.w.Remove(ctx, name))
}

func (a *adapter) Rename(ctx context.Context, oldPath, newPath string) error {
	return note(ctx, a.w.Rename(ctx, a.name(oldPath), a.name(newPath)))
}

func (a *adapter) OpenFile(ctx context.Context, p string, flag int, _ os.FileMode) (dav.File, error) {
	name := a.name(p)
	fi, err := a.fs.Stat(ctx, name)
	if flag&os.O_CREATE == 0 {
		if err != nil {
			return nil, note(ctx, err)
		}
		return &readFile{ctx: ctx, a: a, name: name, fi: davInfo{fi}}, nil
	}
	op := operationOf(ctx)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, note(ctx, err)
	case err == nil && op.method == "LOCK":
		// x/net creates what it could not stat, for whatever reason; what
		// exists by now must not be emptied.
		return nil, note(ctx, refuse(http.StatusConflict, "the file came into being meanwhile; try again"))
	}
	op.replaced = err == nil
	u, err := a.w.OpenWrite(ctx, name)
	if err != nil {
		return nil, note(ctx, err)
	}
	return &writeFile{ctx: ctx, u: u, op: op}, nil
}

// readFile is a folder, or a file that is opened by the first Read.
type readFile struct {
	ctx  context.Context
	a    *adapter
	name string
	fi   fs.FileInfo
	f    File
}

func (f *readFile) Read(p []byte) (int, error) {
	if f.f == nil {
		g, err := f.a.fs.Open(f.ctx, f.name)
		if err != nil {
			return 0, note(f.ctx, err)
		}
		f.f = g
	}
	n, err := f.f.Read(p)
	if err != nil && err != io.EOF {
		note(f.ctx, err)
	}
	return n, err
}

func (f *readFile) Readdir(int) ([]fs.FileInfo, error) {
	infos, err := f.a.fs.ReadDir(f.ctx, f.name)
	if err != nil {
		return nil, note(f.ctx, err)
	}
	for i, fi := range infos {
		if _, ok := fi.(interface{ linked() }); ok && fi.IsDir() {
			// Only COPY lists folders. Following such links can multiply a tree
			// without bound; leaving them out would lose data silently.
			return nil, note(f.ctx, refuse(http.StatusForbidden, "a symbolic link to a folder cannot be copied: "+strings.ToValidUTF8(fi.Name(), "?")))
		}
		infos[i] = davInfo{fi}
	}
	return infos, nil
}

func (f *readFile) Stat() (fs.FileInfo, error)     { return f.fi, nil }
func (f *readFile) Seek(int64, int) (int64, error) { return 0, fs.ErrInvalid }
func (f *readFile) Write([]byte) (int, error)      { return 0, fs.ErrPermission }
func (f *readFile) Close() error {
	if f.f != nil {
		return f.f.Close()
	}
	return nil
}

// writeFile is an upload. It is committed by Close, if all that was to come has come.
type writeFile struct {
	ctx context.Context
	u   Upload
	op  *operation
	n   int64
	err error
}

// ReadFrom is what x/net's io.Copy calls. It sees what Write could not: that
// the source, a body or a file, broke off.
func (f *writeFile) ReadFrom(src io.Reader) (int64, error) {
	s := &sourceReader{r: src}
	n, err := io.CopyBuffer(struct{ io.Writer }{f.u}, s, make([]byte, 1<<20))
	f.n += n
	if s.err != nil && f.op.method == http.MethodPut {
		err = refuse(http.StatusBadRequest, "the body ended early")
	}
	if err != nil {
		f.err = note(f.ctx, err)
	}
	return n, err
}

type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (f *writeFile) Write(p []byte) (int, error) {
	n, err := f.u.Write(p)
	f.n += int64(n)
	if err != nil {
		f.err = note(f.ctx, err)
	}
	return n, err
}

func (f *writeFile) Close() error {
	if f.err == nil && f.op.expect >= 0 && f.n != f.op.expect {
		f.err = note(f.ctx, refuse(http.StatusBadRequest, "the body has another length than announced"))
	}
	if f.err != nil {
		f.u.Abort()
		return f.err
	}
	return note(f.ctx, f.u.Commit())
}

func (f *writeFile) Stat() (fs.FileInfo, error)         { return f.u.Stat() }
func (f *writeFile) Read([]byte) (int, error)           { return 0, fs.ErrPermission }
func (f *writeFile) Seek(int64, int) (int64, error)     { return 0, fs.ErrInvalid }
func (f *writeFile) Readdir(int) ([]fs.FileInfo, error) { return nil, fs.ErrInvalid }
