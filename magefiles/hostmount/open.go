package hostmount

import (
	"context"
	"os"
	"runtime"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"
)

// openDeadline is how long an opener has for failing.
const openDeadline = 3 * time.Second

// OpenFolder shows dir in the file manager. opened is false, without an error,
// where there is no screen or no opener; the caller then prints dir instead.
func OpenFolder(ctx context.Context, dir string) (opened bool, err error) {
	opener := "xdg-open"
	if runtime.GOOS == "darwin" {
		opener = "/usr/bin/open"
	} else if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return false, nil
	}
	path, err := privilege.LookPath(opener)
	if err != nil {
		return false, nil
	}
	// Some openers stay until the window is closed: not our business after it
	// has had the time to fail.
	p, err := proc.Start(context.WithoutCancel(ctx), proc.Cmd{Argv: []string{path, dir}})
	if err != nil {
		return false, proto.Errorf(proto.Mount, "opening %s: %w", dir, err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			return false, proto.Errorf(proto.Mount, "opening %s: %w", dir, err)
		}
	case <-time.After(openDeadline):
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return true, nil
}
