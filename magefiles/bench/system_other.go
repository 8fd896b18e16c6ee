//go:build !linux

package bench

import "context"

func beMeter() error { return errSystem() }

func unmountBelow(context.Context, string) error { return errSystem() }

func syncFolder(string) error { return errSystem() }
