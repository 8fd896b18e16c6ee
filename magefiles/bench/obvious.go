package bench

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	dav "golang.org/x/net/webdav"
)

// obviousName is the name of the obvious server; see Become.
const obviousName = "fuseless-obvious-dav"

// beObvious is the server that one would write first: golang.org/x/net/webdav as
// it is, on a folder. Its arguments are the folder and the address.
func beObvious() error {
	if len(os.Args) != 3 {
		return errors.New("a folder and an address are needed")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s := &http.Server{Addr: os.Args[2], Handler: &dav.Handler{FileSystem: dav.Dir(os.Args[1]), LockSystem: dav.NewMemLS()}}
	context.AfterFunc(ctx, func() { s.Close() })
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
