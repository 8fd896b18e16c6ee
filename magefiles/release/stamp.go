package release

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// devVersion is the version of a source that has no tag.
const devVersion = "0.0.0-dev"

// noCommit is the date of files from a source that git knows nothing of.
var noCommit = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// versions are used in file names, addresses and Ruby.
var versions = regexp.MustCompile(`^[0-9][0-9A-Za-z.-]*$`)

// stamp returns the version, by default git's, and the date of the files: that
// in SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/),
// else that of the commit.
func (m maker) stamp(ctx context.Context, version string) (string, time.Time, error) {
	git := m.isClone()
	if version == "" {
		version = devVersion
		if git {
			// By default the length of an abbreviated hash depends on how much the
			// clone holds.
			said, err := m.git(ctx, "describe", "--tags", "--match", "v[0-9]*", "--always", "--dirty", "--abbrev=12")
			if err != nil {
				return "", time.Time{}, gitError(err, "-version=VERSION")
			}
			version = described(said)
		}
	}
	version = strings.TrimPrefix(version, "v")
	if !versions.MatchString(version) {
		return "", time.Time{}, proto.Errorf(proto.Config, "%q cannot be a version", version).
			WithHint("begin with a digit, and use letters, digits, '.' and '-' only, as in -version=1.2.0")
	}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		when, err := seconds(epoch)
		if err != nil {
			return "", time.Time{}, proto.Errorf(proto.Config, "SOURCE_DATE_EPOCH is %q: %w", epoch, err).
				WithHint("it must be a number of seconds since 1970, as `git log -1 --format=%%ct` prints it")
		}
		return version, when, nil
	}
	if !git {
		return version, noCommit, nil
	}
	said, err := m.git(ctx, "rev-list", "--max-count=1", "--timestamp", "HEAD")
	if err != nil {
		return "", time.Time{}, gitError(err, "SOURCE_DATE_EPOCH")
	}
	date, _, _ := strings.Cut(said, " ")
	when, err := seconds(date)
	if err != nil {
		return "", time.Time{}, gitError(err, "SOURCE_DATE_EPOCH")
	}
	return version, when, nil
}

// described makes a version of what `git describe` says: v1.2.0 at a tag,
// v1.2.0-3-g0123456789ab after it, 0123456789ab without one, each with -dirty
// if something was changed.
func described(said string) string {
	if v, ok := strings.CutPrefix(said, "v"); ok {
		return v
	}
	return devVersion + ".g" + said
}

// seconds is a date in seconds since 1970; tar's simplest format has none before.
func seconds(s string) (time.Time, error) {
	n, err := strconv.ParseUint(s, 10, 33) // 33 bits: ustar's limit, in the year 2242
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(int64(n), 0).UTC(), nil
}

// isClone tells whether src is a git repository itself. One above it has
// nothing to say about it.
func (m maker) isClone() bool {
	_, err := os.Lstat(filepath.Join(m.src, ".git"))
	return err == nil
}

// git asks git about src, and has it write nothing there: it may be somebody
// else's.
func (m maker) git(ctx context.Context, args ...string) (string, error) {
	b, err := proc.Output(ctx, proc.Cmd{Argv: append([]string{"git", "--no-optional-locks", "-C", m.src}, args...)})
	return string(bytes.TrimSpace(b)), err
}

func gitError(err error, instead string) error {
	return proto.Errorf(proto.Prerequisite, "cannot ask git what this version is: %w", err).
		WithHint("mend that, or give %s", instead)
}
