package webdav

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/rundir"
)

// memoryLimit is from when on the garbage collector works harder, in bytes: what is
// kept and fetched ahead alone may be most of that.
const memoryLimit = 96 << 20

// Command is `webdav -root DIR -listen ADDR -credentials FILE [-read-only [-runs DIR] | -refuse-mac-noise]
// [-vault DIR -name-key FILE]`.
// It prints "listening on HOST:PORT" on stdout once it accepts connections,
// and serves until ctx ends. Errors are *proto.Error: Config for arguments and
// credentials, Source for the root, Serve for the listening.
func Command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("webdav", flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", "", "the `folder` to serve")
	listen := flags.String("listen", "", "the loopback `address`, HOST:PORT; port 0 chooses one")
	file := flags.String("credentials", "", "a `file` (or /dev/fd/N) of mode 0600 with one line, user:password")
	readOnly := flags.Bool("read-only", false, "refuse everything that writes")
	refuseMacNoise := flags.Bool("refuse-mac-noise", false, "refuse to make ._* and .DS_Store, which macOS leaves in every folder")
	runs := flags.String("runs", "", "the runtime `folder` of the vault: listings are kept for longer as long as no run is seen in it")
	vault := flags.String("vault", "", "the `folder` of the vault of which root is the view: with the name key, long names are read from it")
	nameKey := flags.String("name-key", "", "a `file` (or /dev/fd/N) with the key of the vault's names")
	if err := flags.Parse(args); err != nil {
		return proto.Errorf(proto.Config, "webdav: %w", err)
	}
	switch {
	case flags.NArg() > 0:
		return proto.Errorf(proto.Config, "webdav: unexpected argument %q", flags.Arg(0))
	case *root == "" || *listen == "" || *file == "":
		return proto.Errorf(proto.Config, "webdav: -root, -listen and -credentials are needed")
	}
	if err := loopbackAddress(*listen); err != nil {
		return err
	}
	user, password, err := readCredentials(*file)
	if err != nil {
		return err
	}
	dir, err := NewDir(*root)
	if err != nil {
		return proto.Errorf(proto.Source, "webdav: %w", err)
	}
	defer dir.Close()
	logger := log.New(stderr, "", log.LstdFlags)
	if *vault != "" {
		lister, err := gocryptfs.OpenLister(*vault, *nameKey)
		if err != nil {
			logger.Printf("webdav: folders with long names are listed slower: %v", err)
		} else {
			defer lister.Close()
			dir.Names = lister.Names
		}
	}
	dir.OnHidden = func(folder string, n int) {
		logger.Printf("webdav: %d entries of %q are not shown: special files, or links that lead nowhere, out of the root or in a circle", n, folder)
	}
	if dir.ShowReplaced = *readOnly; !*readOnly {
		if err := dir.Alone(); errors.Is(err, syscall.EWOULDBLOCK) {
			return proto.Errorf(proto.Serve, "webdav: another server writes into %s", *root).WithHint("stop that one first, or serve it read-only")
		} else if err != nil {
			return proto.Errorf(proto.Source, "webdav: %w", err)
		}
		found, err := dir.Recover()
		for _, f := range found {
			logger.Printf("webdav: %s", f)
		}
		if err != nil {
			return proto.Errorf(proto.Source, "webdav: cannot put back what was being replaced when the server was killed: %w", err).
				WithHint("see that the folder can be written to; all else in it can be served read-only")
		}
		sweeping, stop := context.WithCancel(ctx)
		defer stop() // it is not waited for: the next server goes on with it
		go func() {  // over a slow link it may take long, and nobody sees them
			n, found := dir.Sweep(sweeping)
			for _, f := range found {
				logger.Printf("webdav: %s", f)
			}
			if n > 0 {
				logger.Printf("webdav: removed %d temporary files, which a server that was killed had left", n)
			}
		}()
	}
	var files FS = dir
	if *readOnly { // nobody but another run of ours changes it
		var quietSince func(time.Time) bool
		if *runs != "" {
			quietSince = func(t time.Time) bool { return rundir.QuietSince(*runs, t) }
		}
		files = NewAhead(NewHandles(dir), quietSince)
		debug.SetMemoryLimit(memoryLimit)
	}
	srv, err := New(files, Options{User: user, Password: password, ReadOnly: *readOnly, RefuseMacNoise: *refuseMacNoise, Log: logger})
	if err != nil {
		return proto.Errorf(proto.Config, "%w", err)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", *listen)
	if err != nil {
		return listenError(*listen, err)
	}
	// The kernel accepts from here on; what comes before Serve waits in its queue.
	if _, err := fmt.Fprintf(stdout, "listening on %s\n", ln.Addr()); err != nil {
		ln.Close()
		return proto.Errorf(proto.Internal, "webdav: write the address: %w", err)
	}
	if err := srv.Serve(ctx, ln); err != nil {
		return proto.Errorf(proto.Serve, "webdav: %w", err)
	}
	return nil
}

// loopbackAddress refuses what other machines could reach. A name would be
// resolved, to whatever the resolver says, so only addresses are taken.
func loopbackAddress(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return proto.Errorf(proto.Config, "webdav: -listen %s: %w", addr, err).WithHint("use 127.0.0.1:PORT")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return proto.Errorf(proto.Config, "webdav: -listen %s: %q is not a port", addr, port).
			WithHint("ports go from 1 to 65535; 0 chooses one")
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return proto.Errorf(proto.Config, "webdav: -listen %s: not a loopback address", addr).
			WithHint("use 127.0.0.1:%s; nothing outside this machine may reach the decrypted files", port)
	}
	return nil
}

func listenError(addr string, err error) error {
	e := proto.Errorf(proto.Serve, "webdav: %w", err)
	_, port, _ := net.SplitHostPort(addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return e.WithHint("port %s is taken; choose another one, or stop what holds it (ss -ltnp shows it)", port)
	case errors.Is(err, syscall.EACCES):
		return e.WithHint("ports below 1024 are for root; choose a higher one")
	}
	return e
}
