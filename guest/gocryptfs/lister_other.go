//go:build !linux

package gocryptfs

import "errors"

// Lister is for Linux, where gocryptfs is.
type Lister struct{}

// OpenLister fails with errors.ErrUnsupported.
func OpenLister(vault, key string) (*Lister, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (l *Lister) Close() error { return nil }

// Names knows nothing.
func (l *Lister) Names(folder string) (names []string, ok bool) { return nil, false }
