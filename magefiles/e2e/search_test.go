//go:build linux

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A secret is found wherever it lies: across the ends of what is read at once,
// and behind a hole.
func TestSearch(t *testing.T) {
	const chunk = 4 << 20
	needles := map[string][]byte{"a": []byte("geheim"), "b": []byte("secret!"), "none": []byte("not there")}
	for _, at := range []int64{0, 1, chunk - 3, chunk, chunk + 4, 2*chunk - 1, 2*chunk + 7, 5 * chunk} {
		name := filepath.Join(t.TempDir(), "f")
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if at%2 == 0 { // else the rest stays a hole
			if _, err := f.Write(bytes.Repeat([]byte("x"), int(at))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.WriteAt([]byte("geheimsecret!"), at); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(20 * chunk); err != nil {
			t.Fatal(err)
		}
		f.Close()
		hits, err := search(name, needles)
		if err != nil || len(hits) != 2 || hits["a"] != at || hits["b"] != at+6 {
			t.Errorf("at %d: %v, %v", at, hits, err)
		}
	}
}
