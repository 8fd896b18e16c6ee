package webdav

import (
	"context"
	"io/fs"
	"os"
	"path"
	"slices"
)

func (d *Dir) Stage(_ context.Context, name string) (Stage, error) {
	old, err := d.replaceable(name)
	if err != nil {
		return nil, err
	}
	return &dirStage{d: d, name: name, temp: d.begin(name), old: old}, nil
}

// dirStage is a Stage beside the name that it is for.
type dirStage struct {
	d       *Dir
	name    string
	temp    string      // its temporary name
	old     fs.FileInfo // nil: nothing
	folders []stagedFolder
}

type stagedFolder struct {
	at   string // within the stage
	mode fs.FileMode
}

func (s *dirStage) path(at string) string { return path.Join(s.d.where(s.temp), at) }

func (s *dirStage) Mkdir(_ context.Context, at, like string, mode fs.FileMode) error {
	p := s.path(at)
	if err := s.d.root.Mkdir(p, 0o700); err != nil {
		return readError("mkdir", p, err)
	}
	s.folders = append(s.folders, stagedFolder{at, mode})
	f, err := s.d.root.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.d.copyAttrs(like, f)
}

func (s *dirStage) OpenWrite(_ context.Context, at string) (Upload, error) {
	p := s.path(at)
	f, err := s.d.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, readError("write", p, err)
	}
	u := &dirUpload{File: f, d: s.d, path: func() string { return s.path(at) }}
	if at == "." && s.old != nil && !s.old.IsDir() {
		u.mode, u.keepMode = s.old.Mode().Perm(), true
	}
	return u, nil
}

func (s *dirStage) Sync() error {
	// Those in folders first: a folder may get a mode by which nothing in it can be changed.
	for _, f := range slices.Backward(s.folders) {
		_ = s.d.root.Chmod(s.path(f.at), f.mode) // as for files; it is 0700 where that fails
		if err := s.d.syncFolder(s.path(f.at)); err != nil {
			return gone(err)
		}
	}
	return nil
}

func (s *dirStage) Commit() (rest func(), err error) {
	if rest, err = s.d.replace(s.path("."), s.name); err != nil {
		s.Abort()
		return nil, gone(err)
	}
	s.d.finish(s.temp)
	return rest, nil
}

func (s *dirStage) Abort() { s.d.remove(s.temp) }
