//go:build linux

package ops

import (
	"slices"
	"testing"
)

func TestConsentIsNeeded(t *testing.T) {
	for _, c := range []struct {
		n, left int
		want    bool
	}{
		{0, 0, false}, {1, 9, false}, {1, 8, true}, {5, 0, true}, {1000, 100_000, false}, {1001, 1_000_000, true}, {100, 900, false}, {101, 900, true},
	} {
		if got := over(c.n, c.left); got != c.want {
			t.Errorf("deleting %d with %d left: consent needed is %v, want %v", c.n, c.left, got, c.want)
		}
	}
}

// Whole folders are moved as one, and nothing of them by itself.
func TestTopmost(t *testing.T) {
	got := topmost(map[string]bool{
		"a/b/c": true, "a/b/": true, "a/x": true, "d/": true, "d/e/": true, "d/e/f": true, "dd": true,
	})
	if want := []string{"a/b", "a/x", "d", "dd"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
