package chain

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"fuseless/magefiles/guestbin"
)

// Install puts the task binary into dir, and says so.
func Install(ctx context.Context, dir string) error {
	if dir == "" {
		var err error
		if dir, err = guestbin.DefaultDir(); err != nil {
			return err
		}
	}
	file, err := guestbin.Install(ctx, dir)
	if err != nil {
		return err
	}
	fmt.Println(file)
	if !slices.Contains(filepath.SplitList(os.Getenv("PATH")), dir) {
		fmt.Fprintf(os.Stderr, "%s is not in PATH: add it, or call %s by its whole name\n", dir, file)
	}
	return nil
}
