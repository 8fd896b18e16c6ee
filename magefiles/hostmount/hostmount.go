// Package hostmount mounts the guest's WebDAV server on the host: by davfs2 on
// Linux, by mount_webdav on macOS.
package hostmount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fuseless/guest/proto"
)

// Deadlines. A file system whose server is dead blocks whoever touches it.
const (
	listDeadline   = 20 * time.Second // for the first listing of a new mount
	umountDeadline = 20 * time.Second // for one umount command
	forceDeadline  = 3 * time.Second  // the same, when a lazy one follows
	cleanDeadline  = 45 * time.Second // for taking a failed mount down again
)

// daemonDeadline is for a read-only davfs2 to end after unmounting. A variable for
// the tests.
var daemonDeadline = 15 * time.Second

// Spec is what to mount, and where.
type Spec struct {
	Vault      string // name of the vault: the volume's name on macOS
	URL        string // of the WebDAV server: http://127.0.0.1:PORT/
	User       string
	Password   []byte // stays the caller's; never on a disk, in argv or in the environment
	Mountpoint string // absolute
	RuntimeDir string // folder of ours, mode 0700, on tmpfs where there is one
	ReadOnly   bool

	// Verify says whether the server at URL is ours. Any local user could have
	// bound its port, and would be sent the password. It is asked before and
	// after mounting; nil skips it.
	Verify func(ctx context.Context) error

	// Force lets Unmount give up on open files and on a dead server: it
	// detaches the mount lazily and ends its daemon. What the daemon of a
	// writable mount has not uploaded is kept and reported all the same.
	Force bool

	// Notice is told, once, that Unmount waits for uploads; nil for not at all.
	Notice func(message string)
}

// Mount mounts spec and returns once the folder can be listed. It does nothing
// where this very session is mounted already, and replaces a mount that an
// earlier session (another password or port) left behind.
//
// A mountpoint that is missing is created with mode 0700 and removed again by
// Unmount; one that is not an empty folder, or that has something else mounted
// on it, is refused with code Mount. The other codes are Prerequisite (davfs2
// or root's rights are missing), Busy (a stale mount is in use), and whatever
// Verify returns. After an error nothing is left behind.
//
// warning, if not empty, is for the person to read even on success: it names
// the files of earlier mounts that never reached the server, and where they lie.
func Mount(ctx context.Context, spec Spec) (warning string, err error) {
	if spec, err = check(spec); err != nil {
		return "", err
	}
	rec, known := loadRecord(spec)
	source, mounted, err := Mounted(spec.Mountpoint)
	if err != nil {
		return "", err
	}
	if mounted && !ours(source, spec, rec, known) {
		return "", proto.Errorf(proto.Mount, "%s is already mounted on %s", source, spec.Mountpoint).
			WithHint("unmount it, or set another mountpoint")
	}
	if mounted && known && rec.same(spec) && list(ctx, spec.Mountpoint) == nil {
		return "", nil
	}
	// What is left of an earlier session, whose password is no longer good; or
	// of a run that was killed. Mostly nothing, and then this does nothing.
	l, err := takeDown(ctx, spec)
	if warning = l.warning(); err != nil {
		return warning, err
	}
	if spec.Verify != nil {
		if err := spec.Verify(ctx); err != nil {
			return warning, err
		}
	}
	made, err := prepare(spec.Mountpoint)
	if err != nil {
		return warning, err
	}
	if err := saveRecord(spec, made); err != nil {
		if made {
			_ = os.Remove(spec.Mountpoint)
		}
		return warning, err
	}
	if err = mount(ctx, spec); err == nil {
		err = prove(ctx, spec)
	}
	if err == nil {
		return warning, nil
	}
	// Not ctx: it may be what ended, and the mount must go all the same.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanDeadline)
	defer cancel()
	spec.Force = true
	l, cerr := takeDown(clean, spec)
	if warning = join(warning, lost{now: l.now}.warning()); cerr != nil {
		warning = join(warning, fmt.Sprintf("cleaning up after the failed mount: %v", cerr))
	}
	return warning, err
}

// Unmount takes the mount of spec down and removes what it left: the cache, our
// record of it, and the mountpoint if Mount made it and it is empty. It does
// nothing where nothing is mounted, and refuses with code Mount what is not
// ours. A file that is still open is code Busy, with its holders in the hint,
// unless spec.Force is set.
//
// Of spec it needs URL, Mountpoint, RuntimeDir and Force; a missing URL means
// that the mount must be known from RuntimeDir.
//
// It waits for a writable mount's uploads as long as they move; where nothing
// has moved for minutes it is code Busy, and davfs2 stays at work. Then it looks
// for what did not reach the server, also for what a davfs2 left that was
// killed. That is code Incomplete, with the files' names in the message, after
// everything else is done: nothing is mounted any more.
//
// warning, if not empty, must be shown: it names the files that an earlier call
// reported and nobody has rescued yet.
func Unmount(ctx context.Context, spec Spec) (warning string, err error) {
	l, err := takeDown(ctx, spec)
	if err == nil {
		err = l.err()
	}
	return l.reminder(), err
}

// takeDown is Unmount, with what is lost for its caller to report.
func takeDown(ctx context.Context, spec Spec) (l lost, err error) {
	if spec.Mountpoint, err = canonical(spec.Mountpoint); err != nil {
		return l, err
	}
	rec, known := loadRecord(spec)
	source, mounted, err := Mounted(spec.Mountpoint)
	if err != nil {
		return l, err
	}
	if mounted && !ours(source, spec, rec, known) {
		return l, proto.Errorf(proto.Mount, "%s is mounted on %s, which is not ours to unmount", source, spec.Mountpoint)
	}
	spec.ReadOnly = known && rec.ReadOnly
	if l, err = unmount(ctx, spec, mounted); err != nil {
		return l, err
	}
	if known && rec.Made {
		// Not os.RemoveAll: whatever somebody put there since stays.
		_ = os.Remove(spec.Mountpoint)
	}
	return l, removeRecord(spec)
}

// ours says whether the mount of source is one that Mount made.
func ours(source string, spec Spec, rec record, known bool) bool {
	return sameURL(source, spec.URL) || (known && sameURL(source, rec.URL))
}

// sameURL compares without the trailing slash, which macOS may add or drop.
func sameURL(a, b string) bool {
	return a != "" && strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/")
}

// prove shows that the mount is there and answers, and that the server behind
// it is still ours: davfs2 mounts, and lists an empty folder, even where there
// is no server at all.
func prove(ctx context.Context, spec Spec) error {
	source, ok, err := Mounted(spec.Mountpoint)
	if err != nil {
		return err
	}
	if !ok || !sameURL(source, spec.URL) {
		return proto.Errorf(proto.Mount, "%s did not appear on %s", spec.URL, spec.Mountpoint)
	}
	if err := list(ctx, spec.Mountpoint); err != nil {
		return err
	}
	if spec.Verify != nil {
		return spec.Verify(ctx)
	}
	return nil
}

// list reads the folder's first names, in a goroutine of its own: a read of a
// mount whose server is dead cannot be interrupted. The goroutine ends with
// the mount.
func list(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, listDeadline)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		f, err := os.Open(dir)
		if err == nil {
			_, err = f.Readdirnames(1)
			if err == io.EOF {
				err = nil
			}
			f.Close()
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return proto.Errorf(proto.Mount, "listing the mounted folder: %w", err)
		}
		return nil
	case <-ctx.Done():
		return proto.Errorf(proto.Mount, "listing %s: %w", dir, ctx.Err())
	}
}

// check is spec with its mountpoint made canonical, or what is wrong with it.
func check(spec Spec) (Spec, error) {
	u, err := url.Parse(spec.URL)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || strings.ContainsAny(spec.URL, " \t\r\n\"'\\") {
		return spec, proto.Errorf(proto.Internal, "not a URL to mount: %q", spec.URL)
	}
	if spec.User == "" || strings.ContainsAny(spec.User, ",:= \t\r\n\x00") {
		return spec, proto.Errorf(proto.Internal, "not a user name to mount with: %q", spec.User)
	}
	if len(spec.Password) == 0 || strings.ContainsAny(string(spec.Password), "\r\n\x00") {
		return spec, proto.Errorf(proto.Internal, "the session's password is empty or has more than one line")
	}
	if !filepath.IsAbs(spec.RuntimeDir) || strings.ContainsAny(spec.RuntimeDir, ",\n") {
		return spec, proto.Errorf(proto.Internal, "not a runtime folder: %q", spec.RuntimeDir)
	}
	spec.Mountpoint, err = canonical(spec.Mountpoint)
	return spec, err
}

func join(a, b string) string {
	return strings.Trim(a+"\n"+b, "\n")
}

// ended says whether ctx is what made err.
func ended(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
