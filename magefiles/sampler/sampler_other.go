//go:build !linux

package sampler

import (
	"context"
	"errors"
)

// Sampler is a running watch.
type Sampler struct{}

// Start does nothing here: only Linux has /proc.
func Start(secrets ...[]byte) *Sampler { return &Sampler{} }

// Stop returns nothing.
func (s *Sampler) Stop() []Finding { return nil }

// Findings returns nothing.
func (s *Sampler) Findings() []Finding { return nil }

// Samples is 0, so that a test which demands passes fails.
func (s *Sampler) Samples() int { return 0 }

// WaitPass fails.
func (s *Sampler) WaitPass(ctx context.Context) error { return errors.ErrUnsupported }
