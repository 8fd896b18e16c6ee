// Package release makes what is published of a version: the task binary for
// every platform, the checksums, and the Homebrew formula. From the same source
// and version, and with the same Go, it makes the same bytes everywhere.
package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/adrg/xdg"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/guestbin"
)

// DefaultURL is where the archives are to be downloaded from.
const DefaultURL = "https://github.com/fuseless/fuseless/releases/download/vVERSION"

// Options say what to make, and where.
type Options struct {
	To      string    // the release becomes the folder To/VERSION; default: ~/.cache/fuseless/release
	Version string    // such as 1.2.0; default: what git's tags say, else 0.0.0-dev
	URL     string    // of the folder that has the archives; VERSION stands for the version; default: DefaultURL
	Out     io.Writer // gets a line for each file
}

// platform is one that the program is published for, in Go's names.
type platform struct{ os, arch string }

var platforms = []platform{{"darwin", "arm64"}, {"darwin", "amd64"}, {"linux", "arm64"}, {"linux", "amd64"}}

// archive is the name of a platform's archive.
func (p platform) archive(version string) string {
	return fmt.Sprintf("fuseless_%s_%s_%s.tar.gz", version, p.os, p.arch)
}

const (
	sumsFile    = "SHA256SUMS"
	formulaFile = "fuseless.rb"
)

// Run makes a release from the checkout that it runs in. Its folder appears
// when it is complete, and replaces an earlier one of the same version.
func Run(ctx context.Context, o Options) error {
	src, err := guestbin.Source()
	if err != nil {
		return err
	}
	return maker{src: src, platforms: platforms, compile: guestbin.CompileTasks}.run(ctx, o)
}

// maker makes releases of the checkout src.
type maker struct {
	src       string
	platforms []platform
	compile   func(ctx context.Context, src string, tasks ...guestbin.Task) error
}

func (m maker) run(ctx context.Context, o Options) error {
	version, when, err := m.stamp(ctx, o.Version)
	if err != nil {
		return err
	}
	url, err := downloads(o.URL, version)
	if err != nil {
		return err
	}
	to := o.To
	if to == "" {
		to = filepath.Join(xdg.CacheHome, "fuseless", "release")
	}
	if to, err = filepath.Abs(to); err != nil {
		return err
	}
	final := filepath.Join(to, version)
	if err := replaceable(final); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return writeError(to, err)
	}
	tmp, err := os.MkdirTemp(to, ".fuseless-release-")
	if err != nil {
		return writeError(to, err)
	}
	defer os.RemoveAll(tmp)
	fmt.Fprintf(o.Out, "fuseless %s, dated %s, with %s\n", version, when.Format(time.RFC3339), m.goVersion(ctx))
	fmt.Fprintf(o.Out, "compiling for %d platforms, which takes minutes if Go's cache is empty\n", len(m.platforms))

	tasks, err := m.compileAll(ctx, filepath.Join(tmp, "compiled"))
	if err != nil {
		return err
	}
	made := filepath.Join(tmp, "made")
	if err := m.write(made, version, url, when, tasks, o.Out); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := replace(made, final, filepath.Join(tmp, "replaced")); err != nil {
		return writeError(to, err)
	}
	fmt.Fprintf(o.Out, "the release is in %s\n", final)
	return nil
}

// compileAll compiles for every platform and returns the files.
func (m maker) compileAll(ctx context.Context, dir string) (map[platform]string, error) {
	files := map[platform]string{}
	var tasks []guestbin.Task
	for _, p := range m.platforms {
		files[p] = filepath.Join(dir, p.os+"-"+p.arch, "fuseless")
		tasks = append(tasks, guestbin.Task{Out: files[p], OS: p.os, Arch: p.arch})
	}
	return files, m.compile(ctx, m.src, tasks...)
}

// write makes the files of a release in dir.
func (m maker) write(dir, version, url string, when time.Time, tasks map[platform]string, out io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return writeError(dir, err)
	}
	sums := map[string]string{}
	add := func(name string, content []byte) error {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return writeError(dir, err)
		}
		sum := sha256.Sum256(content)
		sums[name] = hex.EncodeToString(sum[:])
		fmt.Fprintf(out, "%s  %s\n", sums[name], name)
		return nil
	}
	for _, p := range m.platforms {
		packed, err := archive(when, []member{
			{"LICENSE", filepath.Join(m.src, "LICENSE"), 0o644},
			{"README.md", filepath.Join(m.src, "README.md"), 0o644},
			{"fuseless", tasks[p], 0o755},
		})
		if err != nil {
			return fmt.Errorf("pack fuseless for %s/%s: %w", p.os, p.arch, err)
		}
		if err := add(p.archive(version), packed); err != nil {
			return err
		}
	}
	ruby, err := formula(version, url, sums)
	if err != nil {
		return err
	}
	if err := add(formulaFile, ruby); err != nil {
		return err
	}
	return add(sumsFile, checksums(sums))
}

// checksums is what sha256sum prints, and what its -c reads.
func checksums(sums map[string]string) []byte {
	var names []string
	for name := range sums {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&b, "%s  %s\n", sums[name], name)
	}
	return b.Bytes()
}

// ours matches what a release consists of.
var ours = regexp.MustCompile(`^(fuseless_.*\.tar\.gz|` + regexp.QuoteMeta(sumsFile) + `|` + regexp.QuoteMeta(formulaFile) + `)$`)

// replaceable fails if something else than an earlier release is at dir.
func replaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return proto.Errorf(proto.Config, "cannot put the release at %s: %w", dir, err).WithHint("choose another folder with -to=DIR")
	}
	for _, e := range entries {
		if !ours.MatchString(e.Name()) {
			return proto.Errorf(proto.Config, "%s holds %s, which is not of a release", dir, e.Name()).
				WithHint("move it away, or choose another folder with -to=DIR")
		}
	}
	return nil
}

// replace puts the folder made at final, and what was there before at old.
// What is at final is complete at any moment, or is not there.
func replace(made, final, old string) error {
	err := os.Rename(final, old)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(made, final); err != nil {
		_ = os.Rename(old, final)
		return err
	}
	return nil
}

func (m maker) goVersion(ctx context.Context) string {
	b, err := proc.Output(ctx, proc.Cmd{Argv: []string{"go", "env", "GOVERSION"}, Dir: m.src})
	if err != nil {
		return "an unknown Go" // compiling says what is wrong with it
	}
	return string(bytes.TrimSpace(b))
}

func writeError(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return proto.Errorf(proto.NoSpace, "cannot write to %s: %w", dir, err).WithHint("free some space, or choose another folder with -to=DIR")
	}
	return proto.Errorf(proto.Config, "cannot write to %s: %w", dir, err).WithHint("choose a folder of yours with -to=DIR")
}
