//go:build linux

// Command fuseless-guest does the Linux side of fuseless: it runs gocryptfs,
// sshfs and rsync, and serves a decrypted view by WebDAV. The host speaks to it
// through `run`; the rest is for gocryptfs's neighbours and for people who look.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"fuseless/guest/ops"
	"fuseless/guest/proto"
	"fuseless/guest/remote"
	"fuseless/guest/rundir"
	"fuseless/guest/webdav"
)

// version is set with -ldflags "-X main.version=…".
var version = "devel"

const usage = `usage: fuseless-guest COMMAND

  run       carry out one request (JSON on stdin), with events on stdout
  dial      reach the remote through the host's ssh; called by sshfs and rsync
  webdav    serve a folder: -root DIR -listen ADDR -credentials FILE [-read-only]
  rundir    INSTANCE VAULT: make the runtime folder of a vault, and print its path
            and the names of the sockets to the remote that are in it
  version   print the version
`

func main() { os.Exit(int(run(os.Args))) }

func run(args []string) proto.Code {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	// sshfs and rsync call us by a link of this name, with ssh's arguments.
	if filepath.Base(args[0]) == "dial" {
		return proto.Code(remote.Command(ctx, args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if len(args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		return proto.Config
	}
	switch args[1] {
	case "run":
		return request(ctx, os.Stdin, os.Stdout)
	case "dial":
		return proto.Code(remote.Command(ctx, args[2:], os.Stdin, os.Stdout, os.Stderr))
	case "webdav":
		err := webdav.Command(ctx, args[2:], os.Stdout, os.Stderr)
		if err != nil {
			fmt.Fprintf(os.Stderr, "fuseless-guest: %v\n", err)
		}
		return proto.CodeOf(err)
	case "rundir":
		return runtimeFolder(args[2:])
	case "version":
		fmt.Printf("fuseless-guest %s protocol %d %s/%s\n", version, proto.Version, runtime.GOOS, runtime.GOARCH)
		return proto.OK
	}
	fmt.Fprint(os.Stderr, usage)
	return proto.Config
}

// runtimeFolder is for the host of a VM, which forwards a socket into the
// folder before it sends the request that needs it.
func runtimeFolder(args []string) proto.Code {
	if len(args) != 2 || !ops.Names(args[0], args[1]) {
		fmt.Fprint(os.Stderr, usage)
		return proto.Config
	}
	dir, err := rundir.Make(args[0], args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "fuseless-guest: %v\n", err)
		return proto.CodeOf(err)
	}
	fmt.Println(dir)
	// The host knows which of its runs were killed, and takes those back.
	sockets, _ := filepath.Glob(filepath.Join(dir, "bridge-*.sock"))
	for _, s := range sockets {
		fmt.Println(filepath.Base(s))
	}
	return proto.OK
}

// request carries out the request on stdin. When the host goes away, standard
// input ends, and the request with it.
func request(ctx context.Context, stdin io.Reader, stdout io.Writer) proto.Code {
	emit := proto.NewEmitter(stdout)
	req, err := proto.ReadRequest(stdin)
	if err != nil {
		_ = emit.Emit(proto.Event{Kind: proto.KindError, Text: err.Error(), Code: proto.CodeOf(err)})
		return proto.CodeOf(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	// A broken pipe must not kill us in the middle of cleaning up.
	signal.Ignore(syscall.SIGPIPE)
	return proto.CodeOf(ops.Run(ctx, req, emit))
}
