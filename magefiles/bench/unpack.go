package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/adrg/xdg"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"
)

// unpacked are Debian packages in a folder, unpacked and not installed: to install
// nginx or apache2 is to run it, on port 80.
type unpacked struct{ dir string }

// unpack fetches packages with all that they depend on and this machine lacks, and unpacks
// them below the place's folder. The files stay in the user's cache folder.
func (p *place) unpack(ctx context.Context, packages ...string) error {
	if _, err := privilege.LookPath("apt-get"); err != nil {
		return proto.Errorf(proto.Prerequisite, "there is no apt-get, whose packages they are")
	}
	cache := filepath.Join(xdg.CacheHome, "fuseless", "bench")
	for _, dir := range []string{cache, p.path("packages"), p.path("debs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return proto.Errorf(proto.NoSpace, "cannot make a folder for packages: %w", err)
		}
	}
	debs, err := p.fetch(ctx, cache, packages)
	if err != nil && ctx.Err() == nil && privilege.Check(ctx) == nil {
		// The lists are missing, or name what is no longer there.
		if uerr := privilege.Run(ctx, proc.Cmd{Argv: []string{"apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "update"}}); uerr == nil {
			debs, err = p.fetch(ctx, cache, packages)
		}
	}
	if err != nil {
		return err
	}
	for _, d := range debs {
		file := filepath.Join(cache, d.file())
		if err := proc.Run(ctx, proc.Cmd{Argv: []string{"dpkg-deb", "-x", file, p.path("packages")}}); err != nil {
			_ = os.Remove(file) // it may be a part; the next time it is fetched anew
			return err
		}
	}
	return nil
}

// fetch brings into the cache folder what it lacks. It needs no rights, and no lock.
func (p *place) fetch(ctx context.Context, cache string, packages []string) ([]deb, error) {
	said, err := proc.Output(ctx, proc.Cmd{Argv: append([]string{"apt-get", "install", "--print-uris", "-qq", "-y", "--no-install-recommends", "--"}, packages...)})
	if err != nil {
		return nil, fmt.Errorf("look for the packages %s: %w", strings.Join(packages, ", "), err)
	}
	debs, err := parseDebs(string(said))
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, d := range debs {
		if fi, err := os.Stat(filepath.Join(cache, d.file())); err != nil || fi.Size() != d.size {
			missing = append(missing, d.name+":"+d.arch+"="+d.version)
		}
	}
	if len(missing) == 0 {
		return debs, nil
	}
	fmt.Fprintf(os.Stderr, "downloading, without installing: %s\n", strings.Join(missing, " "))
	if err := proc.Run(ctx, proc.Cmd{Dir: p.path("debs"), Argv: append([]string{"apt-get", "-q", "download", "--"}, missing...)}); err != nil {
		return nil, fmt.Errorf("download packages: %w", err)
	}
	files, err := filepath.Glob(p.path("debs/*.deb"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		// By copying, as the cache may be on another file system, and by renaming, as
		// another run may be reading it.
		if err := proc.Run(ctx, proc.Cmd{Argv: []string{"cp", "--", f, filepath.Join(cache, filepath.Base(f)+".part")}}); err != nil {
			return nil, err
		}
		if err := os.Rename(filepath.Join(cache, filepath.Base(f)+".part"), filepath.Join(cache, filepath.Base(f))); err != nil {
			return nil, err
		}
	}
	return debs, nil
}

// deb is a package that apt would install.
type deb struct {
	name, version, arch string
	size                int64
}

// file is the name that apt-get download gives it.
func (d deb) file() string {
	return d.name + "_" + strings.ReplaceAll(d.version, ":", "%3a") + "_" + d.arch + ".deb"
}

// parseDebs reads what `apt-get install --print-uris` prints: a line for each package
// with its URI, file, size and checksum.
func parseDebs(said string) (debs []deb, err error) {
	for line := range strings.Lines(said) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(line, "'") {
			continue
		}
		parts := strings.Split(strings.TrimSuffix(f[1], ".deb"), "_")
		size, serr := strconv.ParseInt(f[2], 10, 64)
		if len(parts) != 3 || serr != nil {
			return nil, proto.Errorf(proto.Internal, "apt-get says what is no package: %s", strings.TrimSpace(line))
		}
		version, verr := url.PathUnescape(parts[1])
		if verr != nil {
			return nil, proto.Errorf(proto.Internal, "apt-get says what is no package: %w", verr)
		}
		debs = append(debs, deb{parts[0], version, parts[2], size})
	}
	return debs, nil
}

// find is the path of a file by its path in a package, which may be one that is installed.
func (u *unpacked) find(file string) (string, error) {
	for _, root := range []string{u.dir, "/"} {
		if p := filepath.Join(root, file); exists(p) {
			return p, nil
		}
	}
	return "", proto.Errorf(proto.Prerequisite, "no package has %s", file)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// libraries are the folders with shared libraries, for LD_LIBRARY_PATH (ld.so(8)).
func (u *unpacked) libraries() string {
	var dirs []string
	for _, pattern := range []string{"lib/*.so.*", "lib/*/*.so.*", "usr/lib/*.so.*", "usr/lib/*/*.so.*"} {
		files, _ := filepath.Glob(filepath.Join(u.dir, pattern))
		for _, f := range files {
			if d := filepath.Dir(f); !slices.Contains(dirs, d) {
				dirs = append(dirs, d)
			}
		}
	}
	return strings.Join(dirs, ":")
}
