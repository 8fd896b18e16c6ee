//go:build linux

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/adrg/xdg"
	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"fuseless/lima"
	"fuseless/lima/guestimage"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/nasty"
	"fuseless/magefiles/throwaway"
)

// bulk is the size of the one big file, in bytes: long enough to be interrupted
// while it is sent, and short without KVM.
const bulk = 16 << 20

// nextVersion is what the second guest binary calls itself.
const nextVersion = "e2e-next"

func (r *run) preparation() []part {
	return []part{
		{"make folders and an ordinary user", r.makeFolders},
		{"build the guest image, limactl and fuseless, or take them from the cache", r.build},
		{"make the sources", r.makeSources},
		{"start the remote (ssh on loopback) and configure", r.startRemote},
	}
}

func (r *run) makeFolders(ctx context.Context) (err error) {
	if r.cache, err = makeCache(); err != nil {
		return err
	}
	if r.dir, err = os.MkdirTemp(r.cache, "run-"); err != nil {
		return err
	}
	if r.user, err = newAccount(ctx); err != nil {
		return err
	}
	if r.mem, err = os.MkdirTemp("/dev/shm", "fle2e-"); err != nil {
		return err
	}
	return r.user.own(r.mem)
}

// Prepare makes what every run needs and keeps, as Run itself would: the guest
// image and limactl. It lets others go first.
func Prepare(ctx context.Context, out io.Writer) error {
	cache, err := makeCache()
	if err != nil {
		return err
	}
	// Linux has a nice value for each thread, and gives it to what the thread
	// starts (setpriority(2), notes). It is never unlocked, so it ends with us.
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
		_, _, err := kept(ctx, cache, out)
		done <- err
	}()
	return <-done
}

// kept makes what is kept from run to run, or takes it from the cache.
func kept(ctx context.Context, cache string, out io.Writer) (image guestimage.Image, tool lima.Tool, err error) {
	src, err := guestbin.Source()
	if err != nil {
		return image, tool, err
	}
	if image, err = guestimage.Build(ctx, imageCache(cache), out); err != nil {
		return image, tool, err
	}
	tool, err = lima.Build(ctx, src, limaCache(cache))
	return image, tool, err
}

func imageCache(cache string) string { return filepath.Join(cache, "image") }
func limaCache(cache string) string  { return filepath.Join(cache, "lima") }

// makeCache makes the folder that is kept from run to run.
func makeCache() (string, error) {
	cache := filepath.Join(xdg.CacheHome, "fuseless-e2e")
	if os.Geteuid() == 0 {
		cache = "/var/cache/fuseless-e2e" // the user must be able to read it
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	return cache, os.Chmod(cache, 0o755) // whatever the umask is
}

// build makes what the run needs. The image is waited for while Go compiles.
func (r *run) build(ctx context.Context) error {
	src, err := guestbin.Source()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin := time.Now()
	made := make(chan error, 1)
	go func() {
		var err error
		r.image, err = guestimage.Build(ctx, imageCache(r.cache), r.out)
		if err == nil {
			r.say("guest image: ready after %.1f s", time.Since(begin).Seconds())
		}
		made <- err
	}()
	err = r.compile(ctx, src)
	if err != nil {
		cancel()
		<-made
		return err
	}
	return <-made
}

func (r *run) compile(ctx context.Context, src string) (err error) {
	begin := time.Now()
	if r.tool, err = lima.Build(ctx, src, limaCache(r.cache)); err != nil {
		return err
	}
	r.say("limactl %s: ready after %.1f s", r.tool.Version, time.Since(begin).Seconds())
	r.bin = r.home(installed)
	r.next = filepath.Join(r.dir, "fuseless")
	if err := os.MkdirAll(filepath.Dir(r.bin), 0o755); err != nil {
		return err
	}
	if err := guestbin.CompileTask(ctx, src, r.bin); err != nil {
		return err
	}
	defer func(v string) { guestbin.Version = v }(guestbin.Version)
	guestbin.Version = nextVersion
	if err := guestbin.CompileTask(ctx, src, r.next); err != nil {
		return err
	}
	r.say("fuseless: compiled twice after %.1f s", time.Since(begin).Seconds())
	return nil
}

// installed is where the user has fuseless, below the home folder.
const installed = ".local/bin/fuseless"

func (r *run) home(elem ...string) string {
	return filepath.Join(append([]string{r.user.home}, elem...)...)
}

// makeSources makes what an ordinary user can have, as that user.
func (r *run) makeSources(ctx context.Context) error {
	if err := r.user.own(r.user.home); err != nil {
		return err
	}
	return r.user.do(func() error {
		made, err := nasty.Make(r.home(mainSource), nasty.Options{Bulk: bulk, Special: true})
		if err != nil {
			return err
		}
		r.say("%s: %d entries, %s", made.Dir, made.Entries, humanize.IBytes(uint64(made.Bytes)))
		for _, l := range made.Left {
			r.say("left out: %s", l)
		}
		if err := r.thinOut(); err != nil {
			return err
		}
		return r.makePapers()
	})
}

// thinOut removes most of the folder with many files: without KVM each file costs
// half a second, on all its ways together, and shows nothing that a few do not.
func (r *run) thinOut() error {
	many, err := filepath.Glob(r.home(mainSource, "many", "*"))
	if err != nil {
		return err
	}
	for _, file := range many[min(30, len(many)):] {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// makePapers makes a small source, with times that have nanoseconds.
func (r *run) makePapers() error {
	dir := r.home(smallSource)
	for _, d := range []string{dir, filepath.Join(dir, "letters")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	for i := range 12 {
		data := make([]byte, 1+i*9000)
		rand.Read(data)
		name := filepath.Join(dir, "letters", fmt.Sprintf("letter %d", i))
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return err
		}
		when := time.Unix(1_500_000_000+int64(i)*86_400, 123_456_789)
		if err := os.Chtimes(name, when, when); err != nil {
			return err
		}
	}
	return nil
}

// startRemote starts the remote, and writes the configuration.
func (r *run) startRemote(ctx context.Context) (err error) {
	remote, keys := filepath.Join(r.dir, "remote"), r.home("keys")
	if err := os.Mkdir(remote, 0o700); err != nil {
		return err
	}
	// Not ctx: it is still needed to clean up.
	if r.server, err = throwaway.Start(context.WithoutCancel(ctx), remote, keys); err != nil {
		return err
	}
	secret := make([]byte, 16)
	rand.Read(secret)
	phrase := hex.EncodeToString(secret)
	r.secrets["the passphrase"] = []byte(phrase)
	if err := os.WriteFile(r.passFile(), []byte(phrase+"\n"), 0o600); err != nil {
		return err
	}
	for _, v := range []string{mainVault, secondVault} {
		if r.ports[v], err = freePort(); err != nil {
			return err
		}
	}
	if err := r.configure(1024); err != nil {
		return err
	}
	for _, d := range []string{keys, r.mem, r.home(".config")} {
		if err := r.user.own(d); err != nil {
			return err
		}
	}
	if err := r.remoteKey(keys); err != nil {
		return err
	}
	r.remember()
	r.sockets = map[string]bool{}
	all, err := listeners(r.user.uid)
	for _, s := range all {
		r.sockets[s.String()] = true
	}
	return err
}
