package prereq

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"fuseless/guest/proto"
)

// Require says at once which of the named programs of LocalGuest are missing or
// too old, before a target begins: one command mends it all. All are asked for
// their versions at the same time, which takes a few hundredths of a second. One whose
// version cannot be made out is let pass. The error is a *proto.Error with code
// Prerequisite.
func Require(programs ...string) error {
	var needs []Need
	for _, n := range LocalGuest() {
		if slices.Contains(programs, n.Program) {
			needs = append(needs, n)
		}
	}
	found := make([]Status, len(needs))
	var all sync.WaitGroup
	for i, n := range needs {
		all.Go(func() { found[i] = check(context.Background(), n) })
	}
	all.Wait()
	missing := slices.DeleteFunc(found, func(s Status) bool { return s.State == Present || s.State == Unreadable })
	if len(missing) == 0 {
		return nil
	}
	manager, packages := plan(missing)
	return proto.Errorf(proto.Prerequisite, "%s", list(missing)).WithHint("%s", hintFor(manager, packages))
}

// TooOldDavFS says whether davfs2, which mounts on a Linux host, is too old.
// That it is missing is for the mount to say: there is another way then.
func TooOldDavFS(ctx context.Context) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	s := check(ctx, DavFS)
	if s.State != TooOld {
		return nil
	}
	manager, packages := plan([]Status{s})
	return proto.Errorf(proto.Prerequisite, "%s", s).WithHint("%s", hintFor(manager, packages))
}
