package main_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// pkg is a package as `go list -json` prints it.
type pkg struct {
	ImportPath string
	Standard   bool
	Deps       []string
}

// list lists packages with everything that they depend on.
func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	c := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Deps"}, args...)...)
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestImports: imports run one way, magefiles -> its packages -> lima ->
// templates, and guest knows nothing of the host.
func TestImports(t *testing.T) {
	forbidden := []struct{ in, below string }{
		{"fuseless/guest", "fuseless/magefiles"},
		{"fuseless/guest", "fuseless/lima"},
		{"fuseless/guest", "fuseless/templates"},
		{"fuseless/guest", "github.com/magefile/mage"},
		{"fuseless/guest", "github.com/lima-vm/lima"},
		{"fuseless/lima", "fuseless/magefiles"},
		{"fuseless/templates", "fuseless/magefiles"},
		{"fuseless/templates", "fuseless/lima"},
	}
	below := func(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
	guests := 0
	for _, p := range list(t, "fuseless/...") {
		if below(p.ImportPath, "fuseless/guest") {
			guests++
		}
		for _, f := range forbidden {
			for _, d := range p.Deps {
				if below(p.ImportPath, f.in) && below(d, f.below) {
					t.Errorf("%s depends on %s", p.ImportPath, d)
				}
			}
		}
	}
	if guests < 10 {
		t.Errorf("only %d packages of the guest were looked at", guests)
	}
	// Nothing imports the targets, and only they import mage.
	for _, p := range list(t, "fuseless/magefiles/...") {
		for _, d := range p.Deps {
			if d == "fuseless/magefiles" || below(d, "github.com/magefile/mage") {
				t.Errorf("%s depends on %s", p.ImportPath, d)
			}
		}
	}
}
