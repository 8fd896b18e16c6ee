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
	return &dirStage{d: d, name: name, temp: beside(name, temporaryPrefix), old: old}, nil
}

// dirStage is a Stage beside the name that it is for.
type dirStage struct {
	d          *Dir
	name, temp string
	old        fs.FileInfo // nil: nothing
	folders    []stagedFolder
}

type stagedFolder struct {
	path string
	mode fs.FileMode
}

func (s *dirStage) Mkdir(_ context.Context, at, like string, mode fs.FileMode) error {
	p := path.Join(s.temp, at)
	if err := s.d.root.Mkdir(p, 0o700); err != nil {
		return readError("mkdir", p, err)
	}
	s.folders = append(s.folders, stagedFolder{p, mode})
	f, err := s.d.root.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.d.copyAttrs(like, f)
}

func (s *dirStage) OpenWrite(_ context.Context, at string) (Upload, error) {
	p := path.Join(s.temp, at)
	f, err := s.d.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, readError("write", p, err)
	}
	u := &dirUpload{File: f, d: s.d, temp: p, name: p}
	if at == "." && s.old != nil && !s.old.IsDir() {
		u.mode, u.keepMode = s.old.Mode().Perm(), true
	}
	return u, nil
}

func (s *dirStage) Commit() error {
	var err error
	// Those in folders first: a folder may get a mode by which nothing in it can be changed.
	for _, f := range slices.Backward(s.folders) {
		if err = s.d.syncFolder(f.path); err != nil {
			break
		}
		_ = s.d.root.Chmod(f.path, f.mode) // as for files; it is 0700 where that fails
	}
	if err == nil {
		err = s.d.replace(s.temp, s.name)
	}
	if err != nil {
		s.Abort()
	}
	return err
}

func (s *dirStage) Abort() { _ = s.d.root.RemoveAll(s.temp) }
