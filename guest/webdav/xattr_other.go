//go:build !linux

package webdav

import (
	"context"
	"errors"
	"os"
	"time"
)

func (d *Dir) Properties(context.Context, string) ([]byte, error) { return nil, nil }

func (d *Dir) SetProperties(context.Context, string, []byte) error { return errors.ErrUnsupported }

func (d *Dir) SetModTime(context.Context, string, time.Time) error { return errors.ErrUnsupported }

func (d *Dir) copyAttrs(string, *os.File) error { return nil }
