package testrun

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// platforms builds and vets for every platform that we support, with the mage
// tag too: `go vet ./...` leaves out files that are tagged so.
func platforms(ctx context.Context, src string, out io.Writer) error {
	tmp, err := os.MkdirTemp("", "fuseless-platforms-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, goos := range []string{"linux", "darwin"} {
		for _, goarch := range []string{"amd64", "arm64"} {
			task := filepath.Join(tmp, goos+"-"+goarch)
			for _, argv := range [][]string{
				{"go", "build", "./..."},
				{"go", "vet", "./..."},
				{"go", "vet", "-tags", "mage", "./magefiles"},
				{"go", "tool", "mage", "-goos", goos, "-goarch", goarch, "-compile", task},
			} {
				env := []string{"CGO_ENABLED=0"}
				if argv[1] != "tool" { // mage itself runs here
					env = append(env, "GOOS="+goos, "GOARCH="+goarch)
				}
				var said bytes.Buffer
				if err := proc.Run(ctx, proc.Cmd{Argv: argv, Dir: src, Stdout: &said, Stderr: &said, Env: env}); err != nil {
					return proto.Errorf(proto.Different, "%v for %s/%s: %s", argv, goos, goarch, said.String())
				}
			}
			fmt.Fprintf(out, "build and vet %s/%s: ok\n", goos, goarch)
		}
	}
	said, err := proc.Output(ctx, proc.Cmd{Argv: []string{"gofmt", "-l", "guest", "lima", "magefiles", "templates"}, Dir: src})
	if err == nil && len(bytes.TrimSpace(said)) > 0 {
		return proto.Errorf(proto.Different, "not formatted: %s", bytes.Fields(said))
	}
	return err
}
