package bench

import (
	"fmt"
	"os"
	"path/filepath"
)

// roles are the programs that this package has, by their names (argv[0]).
var roles = map[string]func() error{
	meterName:   beMeter,
	counterName: beCounter,
	obviousName: beObvious,
}

// Become runs the program that this package has under the base name of name,
// and does not return; it returns if there is none. A program that runs
// benchmarks calls it with os.Args[0] before anything else.
func Become(name string) {
	be, ok := roles[filepath.Base(name)]
	if !ok {
		return
	}
	if err := be(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(name), err)
		os.Exit(1)
	}
	os.Exit(0)
}

// under is a path by which this program is what it is under a name.
func (p *place) under(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(p.mem, name)
	return path, os.Symlink(self, path)
}
