//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"fuseless/magefiles/nasty"
)

// below are all entries below dir, also of folders that are mounts.
func below(dir string) (paths []string) {
	_ = filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if p != dir && err == nil {
			paths = append(paths, p)
		}
		return nil
	})
	return paths
}

// entries are what dir itself holds.
func entries(dir string) []string {
	paths, _ := filepath.Glob(filepath.Join(dir, "*"))
	return paths
}

// sharedFolders are where everyone may write.
var sharedFolders = []string{"/dev/shm", "/run", "/tmp", "/var/tmp", "/var/lock"}

// runtimeFolders are where a user's runtime folder may be.
var runtimeFolders = append([]string{"/run/user"}, sharedFolders...)

// owns are those of the entries of the folders that are the user's. A user that
// was just made has some too, if it got the number of one that was removed.
func (a *account) owns(folders []string, entries func(dir string) []string) (paths []string) {
	for _, dir := range folders {
		for _, p := range entries(dir) {
			var st syscall.Stat_t
			if syscall.Lstat(p, &st) == nil && int(st.Uid) == a.uid {
				paths = append(paths, p)
			}
		}
	}
	return paths
}

// remember notes what is there before the first call.
func (r *run) remember() {
	r.baseline = map[string]bool{}
	for _, p := range slices.Concat(below(r.user.home), r.user.owns(sharedFolders, below), r.user.davfsFiles()) {
		r.baseline[p] = true
	}
}

// mountsBelow are the mounts below dir, the inner ones first.
func mountsBelow(dir string) []string {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil
	}
	var points []string
	for _, i := range infos {
		points = append(points, i.Mountpoint)
	}
	slices.Sort(points)
	slices.Reverse(points)
	return points
}

// mayStay are the folders of the home folder in which the README says that
// something stays, and what was restored.
var mayStay = []string{".cache/fuseless", ".local/state/fuseless", ".config/fuseless", ".local/bin", "fuseless-restore", mainSource, smallSource}

// left is what is there and should not be: processes, mounts and files of the
// user's.
func (r *run) left() (left []string) {
	add := func(format string, args ...any) { left = append(left, fmt.Sprintf(format, args...)) }
	for _, pid := range r.user.processes() {
		add("process %d: %s", pid, commandLine(pid))
	}
	for _, m := range mountsBelow(r.user.home) {
		add("mount %s", m)
	}
	if len(left) > 0 {
		return left // what follows walks the folders, and would walk into the mounts
	}
	for _, p := range below(r.user.home) {
		rel, _ := filepath.Rel(r.user.home, p)
		known := slices.ContainsFunc(mayStay, func(dir string) bool {
			return rel == dir || strings.HasPrefix(rel, dir+"/") || strings.HasPrefix(dir, rel+"/")
		})
		known = known || p == filepath.Dir(r.mountpoint()) // it may hold other mountpoints
		if !known && !r.baseline[p] {
			add("in the home folder: %s", rel)
		}
	}
	if !r.user.made {
		return left // elsewhere much may be this user's
	}
	for _, p := range r.user.owns(sharedFolders, below) {
		if !r.baseline[p] && p != r.mem && p != r.passFile() {
			add("%s", p)
		}
	}
	for _, p := range r.user.davfsFiles() {
		if !r.baseline[p] {
			left = append(left, p)
		}
	}
	return left
}

// davfsFiles are davfs2's caches for the user, and its pid files. They are root's,
// as who mounts is root; the name has the user's number.
func (a *account) davfsFiles() (paths []string) {
	cache := fmt.Sprintf("fuseless-davfs2-%d-*", a.uid)
	for _, pattern := range []string{"/run/" + cache, "/dev/shm/" + cache, "/var/run/mount.davfs/*fle2e*"} {
		found, _ := filepath.Glob(pattern)
		paths = append(paths, found...)
	}
	return paths
}

// cleanUp removes everything but the cache. After a failure it ends and
// unmounts what is there first, as far as it is the user's.
func (r *run) cleanUp(ctx context.Context, failed bool) error {
	if r.user != nil && failed {
		r.takeDown(ctx)
	}
	var errs []error
	if r.server != nil {
		errs = append(errs, r.server.Close())
	}
	if r.user != nil {
		if left := mountsBelow(r.user.home); len(left) > 0 {
			return errors.Join(append(errs, fmt.Errorf("still mounted, so nothing is removed: %q", left))...)
		}
		if !r.user.made {
			errs = append(errs, nasty.Remove(r.user.home))
		} else {
			errs = append(errs, r.user.remove(ctx))
		}
	}
	for _, dir := range []string{r.mem, r.dir} {
		if dir != "" {
			errs = append(errs, nasty.Remove(dir))
		}
	}
	return errors.Join(errs...)
}

// takeDown ends what a failed run left: first as a person would, then by force.
func (r *run) takeDown(ctx context.Context) {
	if _, err := os.Stat(r.bin); err == nil && len(r.user.processes())+len(mountsBelow(r.user.home)) > 0 {
		dctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
		if _, err := r.with(dctx, nil, "destroy", "-yes"); err != nil {
			r.say("destroy: %v", err)
		}
		cancel()
	}
	for _, m := range mountsBelow(r.user.home) {
		if err := sbin(ctx, "umount", "-i", "-l", "--", m); err != nil {
			r.say("%v", err)
		}
	}
	for range 20 {
		pids := r.user.processes()
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(100 * time.Millisecond) // there is no event for the end of what is not our child
	}
	if r.user.made { // runtime folders
		for _, p := range r.user.owns(runtimeFolders, entries) {
			if r.baseline[p] {
				continue
			}
			if err := nasty.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				r.say("%v", err)
			}
		}
	}
}

// lastWords prints the ends of the VM's logs.
func (r *run) lastWords() {
	if r.user == nil {
		return
	}
	logs, _ := filepath.Glob(r.instance("*.log"))
	states, _ := filepath.Glob(r.home(".local", "state", "fuseless", "*", "*.log"))
	for _, log := range append(logs, states...) {
		b, err := os.ReadFile(log)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		fmt.Fprintf(r.out, "\nthe end of %s:\n", log)
		for _, l := range lines[max(0, len(lines)-40):] {
			fmt.Fprintf(r.out, "  %s\n", strings.TrimRight(l, "\r"))
		}
	}
}
