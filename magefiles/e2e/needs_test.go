package e2e

import (
	"slices"
	"testing"

	"fuseless/lima"
	"fuseless/lima/guestimage"
)

// Whoever adds a package there must add it here: nothing else installs it.
func TestNeedsCoverTheVM(t *testing.T) {
	var have []string
	for _, n := range Needs() {
		have = append(have, n.Apt)
	}
	for _, p := range append(lima.QEMUPackages(), guestimage.HostPackages...) {
		if !slices.Contains(have, p) {
			t.Errorf("%s is not installed by anything", p)
		}
	}
}
