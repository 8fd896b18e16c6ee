//go:build !linux

package bench

import (
	"context"
	"fmt"
	"os"

	"fuseless/guest/proto"
)

// Meter ends the process: there is none here.
func Meter() {
	fmt.Fprintln(os.Stderr, errSystem())
	os.Exit(int(proto.Prerequisite))
}

func meterProgram(string) (string, error) { return "", errSystem() }

func unmountBelow(context.Context, string) error { return errSystem() }
